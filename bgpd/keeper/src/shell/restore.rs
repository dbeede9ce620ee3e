//! Going on from the service manager's store, after an upgrade or a crash of the keeper.

use super::{Held, Process, Shell, log};
use crate::keeper::{Event, ProcessId, SessionId};
use crate::os::process;
use crate::rings::KEEPER;
use crate::shell::store::Name;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

type Pair = (Option<OwnedFd>, Option<OwnedFd>);

impl Shell {
    /// Takes what is whole and leaves no trace of the rest.
    pub(super) fn restore(&mut self, passed: Vec<(Name, OwnedFd)>) {
        let mut pairs: BTreeMap<SessionId, Pair> = BTreeMap::new();
        let mut speakers: BTreeMap<u64, Option<ProcessId>> = BTreeMap::new();
        for (name, fd) in passed {
            match name {
                Name::Socket(id) => pairs.entry(id).or_default().0 = Some(fd),
                Name::Memory(id) => pairs.entry(id).or_default().1 = Some(fd),
                // Read before anything else.
                Name::State => {}
                Name::Speaker { generation } => {
                    self.stored.push(generation);
                    speakers.insert(generation, self.know_again(fd));
                }
            }
        }
        for (id, pair) in pairs {
            self.restore_session(id, pair, &speakers);
        }
    }

    /// `None`: it has ended.
    fn know_again(&mut self, pidfd: OwnedFd) -> Option<ProcessId> {
        if process::exited(&pidfd) {
            return None;
        }
        let id = ProcessId(self.id());
        let pid = process::pid_of(&pidfd);
        self.processes.insert(id, Process { pid, pidfd, exited: false });
        Some(id)
    }

    fn restore_session(
        &mut self,
        session: SessionId,
        pair: Pair,
        speakers: &BTreeMap<u64, Option<ProcessId>>,
    ) {
        let fds = [pair.0, pair.1].into_iter().flatten().collect();
        let opened = Held::open(fds).map_err(|e| e.to_string()).and_then(|held| {
            let (owner, since) = held.owner();
            match speakers.get(&owner) {
                None if owner != KEEPER => {
                    Err(format!("nobody knows whether {owner} still writes"))
                }
                speaker => Ok((held, owner, since, speaker.copied().flatten())),
            }
        });
        match opened {
            Ok((held, owner, since, speaker)) => {
                let timing = held.timing;
                log::info(&format!("session {session} with {} is restored", held.peer));
                self.sessions.insert(session, held);
                self.tell(Event::Restored { session, timing, owner, since, speaker });
            }
            // Closing our own descriptor hurts nobody who still uses the connection.
            Err(why) => {
                log::warn(&format!("stored session {session} is dropped: {why}"));
                self.store.remove(Name::Socket(session));
                self.store.remove(Name::Memory(session));
            }
        }
    }
}
