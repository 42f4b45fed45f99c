//! What is expected against what came.

use super::decode::{Decoded, Fields, decode};
use super::frame::Side;
use super::payload::{Difference, Pattern, shown};
use crate::observe::DropReason;

/// One thing that has to come of a packet.
#[derive(Clone, Debug)]
pub(super) struct Expect {
    pub(super) ending: Ending,
    /// Header fields that the frame has to have.
    pub(super) fields: Fields,
    /// Which payload is meant.
    pub(super) layer: Layer,
    pub(super) payload: Pattern,
    /// All its bytes.
    pub(super) frame: Option<Vec<u8>>,
}

/// How a packet ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// A frame leaves: on this side, or where the packet came from.
    Leaves(Option<Side>),
    /// It is dropped, for this reason if one is said.
    Dropped(Option<DropReason>),
    /// Nothing comes.
    Nothing,
}

/// Which payload of a frame is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    /// λ-RPC's message.
    Message,
    /// UDP's, λ-RPC header included.
    Datagram,
    /// The innermost.
    Innermost,
}

/// A frame that left, or a message that was put together of several.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    pub(super) side: Side,
    /// The frame; the last one of a message.
    pub(super) frame: Vec<u8>,
    /// The whole message.
    pub(super) message: Option<Vec<u8>>,
}

impl Arrived {
    /// What it says.
    pub(super) fn decoded(&self) -> Decoded {
        decode(&self.frame)
    }

    fn payload(&self, decoded: &Decoded, layer: Layer) -> Vec<u8> {
        match (&self.message, layer) {
            (Some(message), Layer::Message | Layer::Innermost) => message.clone(),
            (_, Layer::Datagram) => self.frame[decoded.payload.clone()].to_vec(),
            (None, _) => self.frame[decoded.innermost()].to_vec(),
        }
    }

    /// A line for people.
    pub(super) fn line(&self) -> String {
        let decoded = self.decoded();
        let payload = self.payload(&decoded, Layer::Innermost);
        let side = if self.side == Side::Host { "to host: " } else { "" };
        format!("{side}{}, {}", decoded.line(), shown(&payload))
    }
}

impl Expect {
    /// What is different in what came. `from` is the side that the packet was sent from.
    pub(super) fn differences(&self, arrived: &Arrived, from: Side) -> Vec<Difference> {
        let decoded = arrived.decoded();
        let mut found: Vec<Difference> =
            decoded.faults.iter().map(|fault| Difference::new("frame", "well formed", fault)).collect();
        if let Ending::Leaves(side) = self.ending {
            let side = side.unwrap_or(from);
            if side != arrived.side {
                found.push(Difference::new("side", side_name(side), side_name(arrived.side)));
            }
        }
        for (name, expected) in &self.fields {
            let got = decoded.field(name).unwrap_or("none");
            if got != expected {
                found.push(Difference::new(name, expected, got));
            }
        }
        found.extend(self.payload.differences(&arrived.payload(&decoded, self.layer)));
        if let Some(frame) = &self.frame {
            let whole = Pattern { whole: Some(frame.clone()), ..Pattern::default() };
            let differences = whole.differences(&arrived.frame).into_iter();
            found.extend(differences.map(|difference| Difference { what: "frame".into(), ..difference }));
        }
        found
    }

    /// A line for people.
    pub(super) fn line(&self) -> String {
        match self.ending {
            Ending::Nothing => return "nothing".into(),
            Ending::Dropped(None) => return "a drop".into(),
            Ending::Dropped(Some(reason)) => return format!("a drop: {reason}"),
            Ending::Leaves(_) => {}
        }
        let side = match self.ending {
            Ending::Leaves(Some(side)) => format!("a frame to the {}", side_name(side)),
            _ => "a frame".into(),
        };
        let mut words: Vec<String> = vec![side];
        words.extend(self.fields.iter().map(|(name, value)| format!("{name} {value}")));
        if let Some(whole) = &self.payload.whole {
            words.push(shown(whole));
        }
        if let Some(prefix) = &self.payload.prefix {
            words.push(format!("beginning with {}", shown(prefix)));
        }
        words.extend(self.payload.contains.iter().map(|part| format!("{} in it", shown(part))));
        if let Some(length) = self.payload.length {
            words.push(format!("{length} bytes of payload"));
        }
        words.join(", ")
    }
}

/// A side, for people.
pub(super) fn side_name(side: Side) -> &'static str {
    match side {
        Side::Wire => "wire",
        Side::Host => "host",
    }
}
