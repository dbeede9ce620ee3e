//! What the log holds: a header of fixed size, and two pieces of bytes. Shared with its reader.

/// Bytes of a header.
pub const HEADER: usize = 32;

/// What was done. `a` and `b` are the pieces behind the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A file `a` that was not there before, with an inode of its own.
    Create = 1,
    /// A directory `a`.
    Mkdir = 2,
    Unlink = 3,
    Rmdir = 4,
    /// From `a` to `b`.
    Rename = 5,
    /// `a` at an offset.
    Write = 6,
    /// The offset is the new length.
    Length = 7,
    /// fsync or fdatasync of the file, or of the directory `a`; the offset is the thread.
    SyncBegin = 8,
    /// That thread's call has succeeded.
    SyncEnd = 9,
}

impl Kind {
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Create,
            2 => Self::Mkdir,
            3 => Self::Unlink,
            4 => Self::Rmdir,
            5 => Self::Rename,
            6 => Self::Write,
            7 => Self::Length,
            8 => Self::SyncBegin,
            9 => Self::SyncEnd,
            _ => return None,
        })
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Header {
    pub kind: Kind,
    pub inode: u64,
    pub offset: u64,
    /// Lengths of `a` and `b`.
    pub lengths: [u32; 2],
}

impl Header {
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0] = self.kind as u8;
        bytes[8..16].copy_from_slice(&self.inode.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.offset.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.lengths[0].to_le_bytes());
        bytes[28..32].copy_from_slice(&self.lengths[1].to_le_bytes());
        bytes
    }

    /// `None` where no header of ours is.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; HEADER]) -> Option<Self> {
        let long = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes);
        let short = |at: usize| bytes[at..at + 4].try_into().map(u32::from_le_bytes);
        Some(Self {
            kind: Kind::from_code(bytes[0])?,
            inode: long(8).ok()?,
            offset: long(16).ok()?,
            lengths: [short(24).ok()?, short(28).ok()?],
        })
    }
}
