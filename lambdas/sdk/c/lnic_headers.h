/*
 * Adding and removing headers, with the fields that a header needs to be valid: the platform writes them into the frame, and
 * makes lengths, checksums and the EtherType. Each helper is a handful of stores, and changes nothing where it returns false.
 *
 *     #include <lnic.h>
 *     #include <lnic_headers.h>
 *
 * A lambda whose rule says egress = "reply", the default, may only answer: for it, headers that differ from the request's are
 * refused. With egress = "any" these make tunnels, taggers and translators.
 */
#ifndef LNIC_HEADERS_H
#define LNIC_HEADERS_H

#include "lnic.h"

#define ETHER_TYPE_IPV4 0x0800
#define ETHER_TYPE_IPV6 0x86dd
#define PROTOCOL_ICMP 1
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_ICMPV6 58

/* Time to live and hop limit of headers that are made here. */
#define LNIC_HOPS 64

/* Adds an 802.1Q tag: identifier 0–4094, priority 0–7. False if there is one already, or a number is out of its range. */
static inline bool lnic_vlan_push(EXTRACTED_HEADERS_T *headers, uint16_t vid, uint8_t pcp) {
    if (headers->vlan.valid || vid > 4094 || pcp > 7) {
        return false;
    }
    headers->vlan = (VLAN_T){.valid = 1, .pcp = pcp, .vid = vid};
    return true;
}

/* Removes the 802.1Q tag; false if there is none. */
static inline bool lnic_vlan_pop(EXTRACTED_HEADERS_T *headers) {
    bool had = headers->vlan.valid;
    headers->vlan.valid = 0;
    return had;
}

/* Protocol number of what follows the IP header; 0 if there is no IP header. */
static inline uint8_t lnic_protocol(const EXTRACTED_HEADERS_T *headers) {
    return headers->ipv4.valid ? headers->ipv4.protocol : headers->ipv6.valid ? headers->ipv6.protocol : 0;
}

/*
 * Puts an IPv4 header, without options, where there is none or an IPv6 one; what lies above stays. `protocol` is that of a payload
 * without UDP or TCP header. False if there is an IPv4 header already: change its fields.
 */
static inline bool lnic_ipv4_push(EXTRACTED_HEADERS_T *headers, uint32_t source, uint32_t destination,
                                  uint8_t protocol) {
    if (headers->ipv4.valid) {
        return false;
    }
    headers->ipv6.valid = 0;
    headers->ipv4 = (IPV4_T){
        .valid = 1, .ttl = LNIC_HOPS, .protocol = protocol, .dont_fragment = 1, .source = source, .destination = destination};
    return true;
}

/* The same with IPv6, without extension headers; addresses are 16 bytes. */
static inline bool lnic_ipv6_push(EXTRACTED_HEADERS_T *headers, const uint8_t *source, const uint8_t *destination,
                                  uint8_t protocol) {
    if (headers->ipv6.valid) {
        return false;
    }
    headers->ipv4.valid = 0;
    headers->ipv6 = (IPV6_T){.valid = 1, .hop_limit = LNIC_HOPS, .protocol = protocol};
    memcpy(headers->ipv6.source, source, 16);
    memcpy(headers->ipv6.destination, destination, 16);
    return true;
}

/*
 * Removes the IP header and all above it: the payload follows the Ethernet header, as `ether_type`, 0x0600 or more. False if there is
 * no IP header, or the number would say that one follows.
 */
static inline bool lnic_ip_pop(EXTRACTED_HEADERS_T *headers, uint16_t ether_type) {
    if ((!headers->ipv4.valid && !headers->ipv6.valid) || ether_type < 0x0600 || ether_type == ETHER_TYPE_IPV4 ||
        ether_type == ETHER_TYPE_IPV6) {
        return false;
    }
    headers->ipv4.valid = headers->ipv6.valid = headers->udp.valid = headers->tcp.valid = headers->rpc.valid = 0;
    headers->ethernet.ether_type = ether_type;
    return true;
}

/* Puts a UDP header before the payload, in place of a TCP one if there is one. False without IP, or if there is a UDP one already. */
static inline bool lnic_udp_push(EXTRACTED_HEADERS_T *headers, uint16_t source_port, uint16_t destination_port) {
    if (headers->udp.valid || (!headers->ipv4.valid && !headers->ipv6.valid)) {
        return false;
    }
    headers->tcp.valid = 0;
    headers->udp = (UDP_T){.valid = 1, .source_port = source_port, .destination_port = destination_port};
    return true;
}

/* Removes the UDP header and that of λ-RPC: the payload follows IP, as `protocol`. False if there is none. */
static inline bool lnic_udp_pop(EXTRACTED_HEADERS_T *headers, uint8_t protocol) {
    if (!headers->udp.valid) {
        return false;
    }
    headers->udp.valid = headers->rpc.valid = 0;
    headers->ipv4.protocol = headers->ipv6.protocol = protocol;
    return true;
}

/*
 * Makes the UDP payload a λ-RPC request of one frame to a lambda: ports are the author's to set (λ-RPC listens on 4793). The
 * receiver knows requests by source address, port and `request_id`. False without UDP, or if there is a λ-RPC header already.
 */
static inline bool lnic_rpc_push(EXTRACTED_HEADERS_T *headers, uint32_t lambda_id, uint64_t request_id,
                                 uint32_t budget_us) {
    if (!headers->udp.valid || headers->rpc.valid) {
        return false;
    }
    headers->rpc = (RPC_T){.valid = 1,
                           .kind = RPC_REQ,
                           .flags = RPC_FLAG_CRC,
                           .lambda_id = lambda_id,
                           .budget_us = budget_us,
                           .request_id = request_id};
    return true;
}

/* Removes the λ-RPC header: its payload is UDP's. False if there is none. */
static inline bool lnic_rpc_pop(EXTRACTED_HEADERS_T *headers) {
    bool had = headers->rpc.valid;
    headers->rpc.valid = 0;
    return had;
}

#endif
