//! This process and the keeper: who holds the sessions when this one ends.
//!
//! The keeper may come and go. Sessions do not need it to go on; without it they survive a restart
//! of this process by graceful restart only.

use crate::poller::readable;
use bgp_core::types::ConnId;
use keeper::bfd::{Report, Spec};
use keeper::client::{Answer, Attached, Client, ClientError, SessionRings, generation_of_now};
use keeper::keeper::{Release, SessionId};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;

/// How soon a keeper that is away is looked for, and how seldom at last.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(32);
/// An older process of ours may have to end first.
const FIRST: Duration = Duration::from_secs(5);
/// Nothing stands in the way of this process itself, and peers must not wait for a keeper that hangs.
const AGAIN: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(crate) struct Keeper {
    run_dir: PathBuf,
    generation: u64,
    /// Zero: no session is to be held.
    max_orphan: Duration,
    link: Option<Link>,
    /// Why there is none.
    problem: String,
    retry: Option<Instant>,
    wait: Duration,
    asked: HashMap<u32, ConnId>,
    /// The token of the last [`set_bfd`](Self::set_bfd).
    watching: u32,
    held: HashMap<SessionId, ConnId>,
}

#[derive(Debug)]
struct Link {
    client: Client,
    /// A duplicate of the client's descriptor, for tokio to wait on.
    readable: AsyncFd<OwnedFd>,
}

/// What the loop has to do.
#[derive(Debug)]
pub(crate) enum Told {
    Held {
        conn: ConnId,
        session: SessionId,
    },
    NotHeld {
        conn: ConnId,
        why: String,
    },
    Bfd(Report),
    BfdRefused {
        why: String,
    },
    /// Another process has the sessions now.
    Revoked {
        by: u64,
    },
}

impl Keeper {
    pub(crate) fn new(run_dir: PathBuf, max_orphan: Duration) -> Self {
        Self {
            run_dir,
            generation: generation_of_now(),
            max_orphan,
            link: None,
            problem: "not asked yet".into(),
            retry: None,
            wait: RETRY_FIRST,
            asked: HashMap::new(),
            watching: 0,
            held: HashMap::new(),
        }
    }

    /// Sessions are to have buffers that can be held.
    pub(crate) const fn is_wanted(&self) -> bool {
        !self.max_orphan.is_zero()
    }

    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) const fn is_there(&self) -> bool {
        self.link.is_some()
    }

    /// Why sessions are not held.
    pub(crate) fn problem(&self) -> Option<&str> {
        match (self.is_wanted(), &self.link) {
            (false, _) => Some("keeper.max_orphan is 0"),
            (true, None) => Some(&self.problem),
            (true, Some(_)) => None,
        }
    }

    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes over what an earlier process had; inside a tokio runtime.
    pub(crate) fn first(&mut self) -> Attached {
        self.attach(FIRST)
    }

    /// When to [`look`](Self::look) for the keeper.
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.retry
    }

    /// Looks for a keeper that was away. What it lists is ours already, or nobody's.
    pub(crate) fn look(&mut self) -> Option<Attached> {
        let attached = self.attach(AGAIN);
        self.is_there().then_some(attached)
    }

    /// Also where nothing is to be held: an earlier configuration may have had sessions held.
    fn attach(&mut self, limit: Duration) -> Attached {
        self.retry = None;
        match self.try_attach(limit) {
            Ok(attached) => attached,
            Err(_) if !self.is_wanted() => Attached::default(),
            Err(error) => {
                self.lose(&mainstay_daemon::chain(&error));
                Attached::default()
            }
        }
    }

    fn try_attach(&mut self, limit: Duration) -> Result<Attached, ClientError> {
        let mut client = Client::connect(&self.run_dir)?;
        let attached = client.attach(self.generation, Some(self.max_orphan), limit)?;
        let duplicate = client.as_fd().try_clone_to_owned()?;
        let readable = readable(duplicate)?;
        self.link = Some(Link { client, readable });
        self.problem.clear();
        self.wait = RETRY_FIRST;
        Ok(attached)
    }

    fn lose(&mut self, why: &str) {
        if self.problem != why {
            tracing::warn!(why, "no keeper: sessions survive a restart by graceful restart only");
            why.clone_into(&mut self.problem);
        }
        self.drop_link();
        self.retry = Some(Instant::now() + self.wait);
        self.wait = (self.wait * 2).min(RETRY_MAX);
    }

    fn drop_link(&mut self) {
        self.link = None;
        self.asked.clear();
        self.held.clear();
    }

    /// Nobody is to be watched any more, and nothing held.
    pub(crate) fn leave(&mut self) {
        self.set_bfd(&[]);
        self.drop_link();
        self.retry = None;
    }

    /// From now on this session is this process's and held.
    pub(crate) fn know(&mut self, session: SessionId, conn: ConnId) {
        self.held.insert(session, conn);
    }

    /// Asks for a session to be held; the answer is [`Told`].
    pub(crate) fn hold(
        &mut self,
        conn: ConnId,
        socket: BorrowedFd<'_>,
        rings: &SessionRings,
    ) -> Result<(), String> {
        let Some(link) = &mut self.link else { return Err(self.problem.clone()) };
        match link.client.hold(socket, rings) {
            Ok(token) => {
                self.asked.insert(token, conn);
                Ok(())
            }
            Err(error) => {
                // Also one that is only far behind: when it is found again, it is asked again.
                let why = mainstay_daemon::chain(&error);
                self.lose(&why);
                Err(why)
            }
        }
    }

    /// These BFD sessions and no others; false: there is no keeper, and it must be told again.
    pub(crate) fn set_bfd(&mut self, sessions: &[Spec]) -> bool {
        let Some(link) = &mut self.link else { return false };
        match link.client.set_bfd(sessions) {
            Ok(token) => {
                self.watching = token;
                true
            }
            Err(error) => {
                self.lose(&mainstay_daemon::chain(&error));
                false
            }
        }
    }

    /// The session is this process's alone.
    pub(crate) fn forget(&mut self, session: SessionId) {
        self.release(session, Release::Forget);
    }

    /// The session has no place here.
    pub(crate) fn abort(&mut self, session: SessionId) {
        self.release(session, Release::Abort);
    }

    fn release(&mut self, session: SessionId, how: Release) {
        self.held.remove(&session);
        if let Some(link) = &self.link
            && let Err(error) = link.client.release(session, how)
        {
            self.lose(&mainstay_daemon::chain(&error));
        }
    }

    /// The next thing the keeper has to say; for ever pending without one. Nothing: it was not for
    /// the loop, or there is no keeper any more.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        let Some(link) = &self.link else { return std::future::pending().await };
        let ready = match link.readable.readable().await {
            Ok(mut guard) => match link.client.next() {
                Ok(None) => {
                    guard.clear_ready();
                    return None;
                }
                other => other,
            },
            Err(error) => Err(ClientError::Io(error)),
        };
        match ready {
            Ok(answer) => self.understand(answer?),
            Err(error) => {
                self.lose(&mainstay_daemon::chain(&error));
                None
            }
        }
    }

    fn understand(&mut self, answer: Answer) -> Option<Told> {
        match answer {
            Answer::Held { token, session } => {
                let conn = self.asked.remove(&token)?;
                self.held.insert(session, conn);
                Some(Told::Held { conn, session })
            }
            Answer::Refused { token, why } if token == self.watching => {
                Some(Told::BfdRefused { why })
            }
            Answer::Refused { token, why } => {
                let conn = self.asked.remove(&token)?;
                Some(Told::NotHeld { conn, why })
            }
            Answer::Revoked { by } => Some(Told::Revoked { by }),
            Answer::Bfd(report) => Some(Told::Bfd(report)),
            Answer::Released { .. } | Answer::Status(_) | Answer::BfdSet { .. } => None,
        }
    }

    /// The keeper is told when it is asked for the sessions, which changes nothing else.
    pub(crate) fn set_max_orphan(&mut self, max_orphan: Duration) {
        if self.max_orphan != max_orphan {
            self.max_orphan = max_orphan;
            self.drop_link();
            "it is asked anew".clone_into(&mut self.problem);
            self.retry = Some(Instant::now());
        }
    }
}
