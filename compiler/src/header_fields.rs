//! The fields of `EXTRACTED_HEADERS_T` by their bytes, for people.

use std::mem::offset_of;
use std::ops::Range;

use lnic_abi as abi;

use crate::HeaderBytes;

/// A field of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderField {
    /// The header, as `EXTRACTED_HEADERS_T` calls it.
    pub header: &'static str,
    /// The field.
    pub field: &'static str,
    /// Its bytes in `EXTRACTED_HEADERS_T`.
    pub bytes: Range<usize>,
}

/// Bytes of the field that a function picks.
const fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

macro_rules! fields {
    ($($header:ident: $type:ident { $($field:ident),* },)*) => {
        /// All fields but the reserved ones, in their order.
        #[must_use]
        pub fn header_fields() -> Vec<HeaderField> {
            vec![$($({
                let start = offset_of!(abi::Headers, $header) + offset_of!(abi::$type, $field);
                let bytes = size_of_field(|header: &abi::$type| &header.$field);
                HeaderField {
                    header: stringify!($header),
                    field: stringify!($field),
                    bytes: start..start + bytes,
                }
            },)*)*]
        }

        /// Each header of `EXTRACTED_HEADERS_T` with its bytes.
        #[must_use]
        pub fn headers() -> Vec<(&'static str, Range<usize>)> {
            vec![$({
                let start = offset_of!(abi::Headers, $header);
                (stringify!($header), start..start + size_of::<abi::$type>())
            },)*]
        }
    };
}

fields! {
    meta: Meta { time_ns, frame_length, ingress_port, egress_port },
    rpc: Rpc { valid, kind, status, credit, flags, service_us, lambda_id, budget_us, request_id, message_length, fragment_bytes, fragment_index },
    ethernet: Ethernet { destination, source, ether_type, valid },
    vlan: Vlan { valid, pcp, dei, vid },
    ipv4: Ipv4 { valid, tos, ttl, protocol, identification, dont_fragment, options_bytes, source, destination, total_length },
    ipv6: Ipv6 { valid, traffic_class, hop_limit, protocol, flow_label, source, destination, payload_length, extension_bytes },
    udp: Udp { valid, source_port, destination_port, length },
    tcp: Tcp { valid, flags, source_port, destination_port, window, sequence, acknowledgement },
}

impl HeaderBytes {
    /// The set for people: `ipv4 (source, destination)`; a header all of whose fields are in it has its name alone.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let fields = header_fields();
        let of = |header: &str| -> Vec<&HeaderField> {
            fields.iter().filter(|field| field.header == header).collect()
        };
        headers()
            .into_iter()
            .filter_map(|(header, _)| {
                let all = of(header);
                let used: Vec<&str> = all
                    .iter()
                    .filter(|field| self.intersects(field.bytes.clone()))
                    .map(|field| field.field)
                    .collect();
                match used.len() {
                    0 => None,
                    every if every == all.len() => Some(header.to_owned()),
                    _ => Some(format!("{header} ({})", used.join(", "))),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HEADER_BYTES;

    #[test]
    fn fields_lie_side_by_side_in_their_headers_and_leave_out_only_what_is_reserved() {
        let (fields, headers) = (header_fields(), headers());
        assert_eq!(headers.last().unwrap().1.end, HEADER_BYTES);
        let mut end = 0;
        for field in &fields {
            let header = headers.iter().find(|header| header.0 == field.header).unwrap();
            assert!(field.bytes.start >= end && field.bytes.end <= header.1.end, "{field:?}");
            // Padding and reserved fields are small.
            assert!(field.bytes.start - end <= 3, "{field:?} after {end}");
            end = field.bytes.end;
        }
        assert_eq!(fields.iter().map(|field| field.bytes.len()).sum::<usize>() + 7, HEADER_BYTES);
    }

    #[test]
    fn sets_are_named_by_field_and_by_header() {
        let mut set = HeaderBytes::NONE;
        set.insert(offset_of!(abi::Headers, udp)..offset_of!(abi::Headers, udp) + size_of::<abi::Udp>());
        let ipv4 = offset_of!(abi::Headers, ipv4);
        set.insert(ipv4 + offset_of!(abi::Ipv4, source)..ipv4 + offset_of!(abi::Ipv4, source) + 1);
        assert_eq!(set.describe(), ["ipv4 (source)", "udp"]);
        assert_eq!(HeaderBytes::all().describe().len(), 8);
        assert!(HeaderBytes::NONE.describe().is_empty());
    }
}
