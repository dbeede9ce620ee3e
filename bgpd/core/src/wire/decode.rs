//! One message out of its bytes.

use super::frame::{self, Header};
use super::notification::DecodeError;
use super::reader::Reader;
use super::types::{AfiSafi, Context, HEADER_LEN, Message, Notification, RefreshMark};
use super::{open, update};

/// Reads one whole message, header included, as a [`Framer`](super::Framer) cuts it.
///
/// An error ends the session. What RFC 7606 heals is not an error: see
/// [`Update::fault`](super::Update::fault).
pub fn decode<'a>(frame: &'a [u8], context: &Context) -> Result<Message<'a>, DecodeError> {
    let whole = u16::try_from(frame.len()).unwrap_or(u16::MAX);
    let header =
        Header::read(frame, context.extended_messages)?.filter(|h| h.length == frame.len());
    let Some((header, body)) = header.zip(frame.get(HEADER_LEN..)) else {
        return Err(frame::bad_length(whole, "message has another length than its header says"));
    };
    match header.kind {
        frame::OPEN => open::decode(body).map(Message::Open),
        frame::UPDATE => update::decode(body, context).map(Message::Update),
        frame::NOTIFICATION => match body {
            [code, subcode, data @ ..] => {
                Ok(Message::Notification(Notification::bare(*code, *subcode).with_data(data)))
            }
            _ => Err(frame::bad_length(whole, "NOTIFICATION is cut short")),
        },
        frame::ROUTE_REFRESH => route_refresh(frame, body),
        _ => Ok(Message::Keepalive),
    }
}

/// RFC 2918 §3; the subtypes are RFC 7313's §3.
fn route_refresh<'a>(frame: &[u8], body: &[u8]) -> Result<Message<'a>, DecodeError> {
    let mut reader = Reader::new(body);
    let fields = (reader.u16(), reader.u8(), reader.u8(), reader.is_empty());
    let (Some(afi), Some(subtype), Some(safi), true) = fields else {
        let notification = Notification::bare(7, 1).with_data(frame);
        let text = format!("ROUTE-REFRESH has {} octets instead of 4", body.len());
        return Err(DecodeError::new(notification, text));
    };
    let family = AfiSafi { afi, safi };
    Ok(match subtype {
        0 => Message::RouteRefresh(family),
        1 => Message::RefreshMark(family, RefreshMark::Begin),
        2 => Message::RefreshMark(family, RefreshMark::End),
        other => Message::RefreshMark(family, RefreshMark::Unknown(other)),
    })
}
