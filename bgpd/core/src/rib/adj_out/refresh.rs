//! Everything told again, because the peer has asked for it (RFC 2918, RFC 7313).

use super::AdjOut;
use super::EndOfRib;
use crate::rib::loc_rib::LocRib;
use crate::types::Family;
use crate::wire::{self, RefreshMark};

/// How far the answer to a ROUTE-REFRESH is, if the peer wants it marked (RFC 7313 §4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Refresh {
    #[default]
    Idle,
    /// BoRR has to be sent, but never before the EoR, nor while something told by an earlier
    /// process may still be confirmed: the EoRR would remove it.
    Asked,
    /// Between BoRR and EoRR.
    Telling,
    /// Told again without marks; the log has them all the same.
    Unmarked,
}

impl AdjOut {
    /// RFC 2918 §4; `marked`: between BoRR and EoRR (RFC 7313 §4).
    pub(crate) fn refresh(&mut self, rib: &LocRib, family: Family, marked: bool) {
        if marked {
            *self.refresh.get_mut(family) = Refresh::Asked;
        } else {
            self.tell_again(rib, family);
            *self.refresh.get_mut(family) = Refresh::Unmarked;
        }
    }

    /// With nothing left to tell: the families of which everything was told again without marks.
    pub(crate) fn take_refreshed(&mut self) -> Vec<Family> {
        if self.walk.is_some() || !self.batch.is_empty() {
            return Vec::new();
        }
        let mut done = Vec::new();
        for family in Family::ALL {
            let refresh = self.refresh.get_mut(family);
            if *refresh == Refresh::Unmarked {
                *refresh = Refresh::Idle;
                done.push(family);
            }
        }
        done
    }

    fn tell_again(&mut self, rib: &LocRib, family: Family) {
        self.walk(rib);
        if let Some(walk) = &mut self.walk {
            *walk.again.get_mut(family) = true;
        }
    }

    /// Whether a BoRR or an EoRR can be sent now.
    pub(super) fn may_mark(&self, family: Family) -> bool {
        match self.refresh.get(family) {
            Refresh::Idle | Refresh::Unmarked => false,
            Refresh::Asked => {
                *self.end_of_rib.get(family) != EndOfRib::Owed
                    && self.inherited.get(family).len() == 0
            }
            Refresh::Telling => self.walk.is_none(),
        }
    }

    /// With nothing grouped: what was told before stands before a BoRR, all of the table before an
    /// EoRR.
    pub(super) fn mark_refresh(&mut self, rib: &LocRib, out: &mut Vec<u8>) -> u64 {
        let mut messages = 0;
        for family in Family::ALL.into_iter().filter(|f| self.may_mark(*f)).collect::<Vec<_>>() {
            let (mark, next) = match self.refresh.get(family) {
                Refresh::Asked => (RefreshMark::Begin, Refresh::Telling),
                _ => (RefreshMark::End, Refresh::Idle),
            };
            if next == Refresh::Telling {
                self.tell_again(rib, family);
            }
            wire::refresh_mark(family.into(), mark, out);
            *self.refresh.get_mut(family) = next;
            messages += 1;
        }
        messages
    }
}
