//! From one BGP message to the next (RFC 4271 §4.1): all that the keeper knows of BGP, beside
//! the KEEPALIVE.

pub const HEADER_LEN: usize = 19;
/// With RFC 8654; without it peers stop at 4096.
pub const MAX_MESSAGE: usize = 65535;

/// RFC 4271 §4.4: a header alone.
pub const KEEPALIVE: [u8; HEADER_LEN] = {
    let mut message = [0xff; HEADER_LEN];
    message[16] = 0;
    message[17] = 19;
    message[18] = 4;
    message
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no message begins at {at}")]
pub struct NoMessage {
    /// The position in the stream.
    pub at: u64,
}

/// The length of the message that this header begins; `None` when it is no header.
#[must_use]
pub fn message_len(header: &[u8; HEADER_LEN]) -> Option<usize> {
    let len = usize::from(u16::from_be_bytes([header[16], header[17]]));
    let sound = header[..16] == [0xff; 16] && len >= HEADER_LEN && header[18] != 0;
    sound.then_some(len)
}

/// How many of these bytes are whole messages from the start on.
pub fn whole_messages(bytes: &[u8]) -> Result<usize, NoMessage> {
    let mut at = 0;
    while let Some(header) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        let len = message_len(header).ok_or(NoMessage { at: at as u64 })?;
        if bytes.len() - at < len {
            break;
        }
        at += len;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_message_is_not_counted() {
        let two = [KEEPALIVE, KEEPALIVE].concat();
        for n in 0..=two.len() {
            assert_eq!(whole_messages(&two[..n]), Ok(n / 19 * 19));
        }
    }

    #[test]
    fn what_has_no_marker_is_no_message() {
        let mut bytes = [KEEPALIVE, KEEPALIVE].concat();
        bytes[20] = 0;
        assert_eq!(whole_messages(&bytes), Err(NoMessage { at: 19 }));
        let mut short = KEEPALIVE;
        short[17] = 18;
        assert_eq!(message_len(&short), None);
    }
}
