-- λ-RPC version 1, the protocol of lnic, for Wireshark and tshark 4.0 or newer:
--
--     tshark -X lua_script:client/wireshark/lnic.lua -r capture.pcap
--
-- or copy it to the folder of personal Lua plugins. It decodes UDP port 4793 (a preference) and, by heuristics, other
-- ports; checks the CRC; links requests and replies; and puts messages of several fragments together. Some links point
-- forward, to frames that a single pass has not seen yet: tshark -2 shows them.

local proto = Proto("lnic", "λ-RPC")

local MAGIC_VERSION = 0xA1
local HEADER_BYTES = 32
local WORD_BYTES = 8
local CRC_OFFSET = 28
local FRAGMENTS = 65536
-- Longest message that is put together.
local MESSAGE_BYTES = 64 * 1024 * 1024

local REQ, RSP, NACK, GRANT, PONG = 0, 1, 2, 3, 7
local KINDS = {
    [0] = "REQ", "RSP", "NACK", "GRANT", "CHAL", "ACK", "PING", "PONG", "CANCEL",
}
local BUSY = 32
local STATUSES = {
    [0] = "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
    [BUSY] = "BUSY", [33] = "UNKNOWN_RPC", [34] = "STALE",
}
local FLAG_CRC, FLAG_RTX, FLAGS_UNUSED = 0x8000, 0x4000, 0x03F8
local COOKIE, TRACE, BITMAP, EPOCH = 1, 2, 3, 4
local TLVS = { [COOKIE] = "Cookie", [TRACE] = "Trace", [BITMAP] = "Bitmap", [EPOCH] = "Server epoch" }
local TLV_BYTES = { [COOKIE] = 8, [TRACE] = 25, [EPOCH] = 4 }
local CRC_BAD, CRC_GOOD, CRC_UNCHECKED = 0, 1, 2

local f = {
    magic = ProtoField.uint8("lnic.magic", "Magic", base.HEX, nil, 0xF0),
    version = ProtoField.uint8("lnic.version", "Version", base.DEC, nil, 0x0F),
    kind = ProtoField.uint8("lnic.type", "Type", base.DEC, KINDS, 0xF0),
    words = ProtoField.uint8("lnic.header_words", "Header length in 8-byte words", base.DEC, nil, 0x0F),
    flags = ProtoField.uint16("lnic.flags", "Flags", base.HEX),
    crc_flag = ProtoField.bool("lnic.flags.crc", "CRC", 16, nil, FLAG_CRC),
    rtx = ProtoField.bool("lnic.flags.rtx", "Retransmission", 16, nil, FLAG_RTX),
    idempotent = ProtoField.bool("lnic.flags.idempotent", "Idempotent", 16, nil, 0x2000),
    at_most_once = ProtoField.bool("lnic.flags.at_most_once", "At most once", 16, nil, 0x1000),
    noreply = ProtoField.bool("lnic.flags.noreply", "No reply", 16, nil, 0x0800),
    ce = ProtoField.bool("lnic.flags.ce", "Congestion experienced", 16, nil, 0x0400),
    priority = ProtoField.uint16("lnic.flags.priority", "Priority", base.DEC, nil, 0x0007),
    lambda = ProtoField.uint32("lnic.lambda", "Lambda ID"),
    request = ProtoField.uint64("lnic.request", "Request ID", base.HEX),
    session = ProtoField.uint32("lnic.session", "Session", base.HEX),
    sequence = ProtoField.uint32("lnic.sequence", "Sequence"),
    message_length = ProtoField.uint32("lnic.message_length", "Message length"),
    fragment_bytes = ProtoField.uint16("lnic.fragment_bytes", "Fragment size"),
    fragment_index = ProtoField.uint16("lnic.fragment_index", "Fragment index"),
    aux = ProtoField.uint32("lnic.aux", "Aux", base.HEX),
    budget = ProtoField.uint32("lnic.budget_us", "Budget in µs (0: none)"),
    status = ProtoField.uint8("lnic.status", "Status", base.DEC, STATUSES),
    credit = ProtoField.uint8("lnic.credit", "Credit"),
    service = ProtoField.uint16("lnic.service_us", "Service time in µs"),
    retry = ProtoField.uint16("lnic.retry_us", "Ask again after µs"),
    missing = ProtoField.uint32("lnic.first_missing", "First missing index"),
    granted = ProtoField.uint32("lnic.granted", "Granted up to index"),
    heard = ProtoField.uint32("lnic.heard_bytes", "Bytes heard"),
    crc = ProtoField.uint32("lnic.crc", "CRC32C", base.HEX),
    crc_status = ProtoField.uint8("lnic.crc.status", "CRC status", base.DEC,
        { [CRC_BAD] = "Bad", [CRC_GOOD] = "Good", [CRC_UNCHECKED] = "Unchecked" }),
    crc_computed = ProtoField.uint32("lnic.crc.computed", "CRC32C of the datagram", base.HEX),
    tlv = ProtoField.none("lnic.tlv", "TLV"),
    tlv_type = ProtoField.uint8("lnic.tlv.type", "Type", base.DEC, TLVS),
    tlv_length = ProtoField.uint8("lnic.tlv.length", "Length"),
    tlv_value = ProtoField.bytes("lnic.tlv.value", "Value"),
    cookie = ProtoField.bytes("lnic.tlv.cookie", "Cookie"),
    trace_version = ProtoField.uint8("lnic.tlv.trace.version", "Version"),
    trace_id = ProtoField.bytes("lnic.tlv.trace.id", "Trace ID"),
    trace_parent = ProtoField.bytes("lnic.tlv.trace.parent", "Parent ID"),
    bitmap = ProtoField.bytes("lnic.tlv.bitmap", "Bitmap"),
    bitmap_missing = ProtoField.uint32("lnic.tlv.bitmap.missing", "Missing fragment"),
    epoch = ProtoField.uint32("lnic.tlv.epoch", "Server epoch"),
    payload = ProtoField.bytes("lnic.payload", "Payload"),
    fragment = ProtoField.string("lnic.fragment", "Fragment"),
    fragment_count = ProtoField.uint32("lnic.fragment.count", "Fragment count"),
    fragment_again = ProtoField.framenum("lnic.fragment.first_in", "Sent first in", base.NONE, frametype.RETRANS_PREV),
    reassembled_in = ProtoField.framenum("lnic.reassembled_in", "Message complete in", base.NONE),
    reassembled_length = ProtoField.uint32("lnic.reassembled.length", "Message put together, bytes"),
    message = ProtoField.bytes("lnic.message", "Message"),
    request_in = ProtoField.framenum("lnic.request_in", "Request in", base.NONE, frametype.REQUEST),
    response_in = ProtoField.framenum("lnic.response_in", "Reply in", base.NONE, frametype.RESPONSE),
    response_time = ProtoField.relative_time("lnic.response_time", "Time since the request"),
}
proto.fields = f

local e = {
    malformed = ProtoExpert.new("lnic.malformed", "Malformed", expert.group.MALFORMED, expert.severity.ERROR),
    cut = ProtoExpert.new("lnic.cut", "Not captured whole", expert.group.UNDECODED, expert.severity.NOTE),
    crc_good = ProtoExpert.new("lnic.crc.good", "CRC is right", expert.group.CHECKSUM, expert.severity.CHAT),
    crc_bad = ProtoExpert.new("lnic.crc.bad", "CRC is wrong", expert.group.CHECKSUM, expert.severity.ERROR),
    crc_unchecked = ProtoExpert.new("lnic.crc.unchecked", "CRC is not checked", expert.group.CHECKSUM,
        expert.severity.CHAT),
    retransmission = ProtoExpert.new("lnic.retransmission", "Retransmission", expert.group.SEQUENCE,
        expert.severity.NOTE),
    bad_status = ProtoExpert.new("lnic.status.not_ok", "Status is not OK", expert.group.RESPONSE_CODE,
        expert.severity.NOTE),
}
proto.experts = e

proto.prefs.port = Pref.uint("UDP port", 4793, "UDP port of λ-RPC")
proto.prefs.check_crc = Pref.bool("Check the CRC", true, "Compute CRC32C and compare")
proto.prefs.reassemble = Pref.bool("Put messages together", true, "Show a message of several fragments as one")

-- What the first pass has found: calls by request and endpoints, and what is shown for each frame.
local calls, frames = {}, {}

function proto.init()
    calls, frames = {}, {}
end

local crc_table = {}
for byte = 0, 255 do
    local crc = byte
    for _ = 1, 8 do
        local carry = bit.band(crc, 1)
        crc = bit.rshift(crc, 1)
        if carry == 1 then
            crc = bit.bxor(crc, 0x82F63B78)
        end
    end
    crc_table[byte] = crc
end

local function crc32c(crc, bytes)
    local band, bxor, rshift, table = bit.band, bit.bxor, bit.rshift, crc_table
    for at = 1, #bytes do
        crc = bxor(rshift(crc, 8), table[band(bxor(crc, bytes:byte(at)), 0xFF)])
    end
    return crc
end

-- CRC of a whole datagram, its own field taken as zero: 0 to 2^32 - 1.
local function datagram_crc(tvb)
    local crc = crc32c(-1, tvb:range(0, CRC_OFFSET):raw())
    crc = crc32c(crc, "\0\0\0\0")
    if tvb:len() > HEADER_BYTES then
        crc = crc32c(crc, tvb:range(HEADER_BYTES):raw())
    end
    return bit.bnot(crc) % 2 ^ 32
end

-- Whether it can be λ-RPC at all: what heuristics ask of other ports.
local function is_plausible(tvb)
    if tvb:len() < HEADER_BYTES or tvb:range(0, 1):uint() ~= MAGIC_VERSION then
        return false
    end
    local first, flags = tvb:range(1, 1):uint(), tvb:range(2, 2):uint()
    local header_bytes = bit.band(first, 0xF) * WORD_BYTES
    if KINDS[bit.rshift(first, 4)] == nil or header_bytes < HEADER_BYTES or header_bytes > tvb:reported_len() then
        return false
    end
    if bit.band(flags, FLAGS_UNUSED) ~= 0 then
        return false
    end
    local is_whole = tvb:len() == tvb:reported_len()
    return bit.band(flags, FLAG_CRC) == 0 or not is_whole or datagram_crc(tvb) == tvb:range(CRC_OFFSET, 4):uint()
end

local function parse(tvb)
    local first, flags = tvb:range(1, 1):uint(), tvb:range(2, 2):uint()
    local header = {
        kind = bit.rshift(first, 4),
        bytes = bit.band(first, 0xF) * WORD_BYTES,
        flags = flags,
        lambda = tvb:range(4, 4):uint(),
        message_length = tvb:range(16, 4):uint(),
        fragment_bytes = tvb:range(20, 2):uint(),
        fragment_index = tvb:range(22, 2):uint(),
        aux = tvb:range(24, 4):uint(),
        is_whole = tvb:len() == tvb:reported_len(),
    }
    header.fragments = 1
    if header.message_length > 0 and header.fragment_bytes > 0 then
        header.fragments = math.ceil(header.message_length / header.fragment_bytes)
    end
    header.payload_bytes = tvb:reported_len() - header.bytes
    return header
end

-- Why this is no right fragment of a message; nil if it is one.
local function wrong_fragment(header)
    local offset = header.fragment_index * header.fragment_bytes
    if header.fragments > FRAGMENTS or (header.message_length > 0 and header.fragment_bytes == 0) then
        return string.format("%d bytes in fragments of %d", header.message_length, header.fragment_bytes)
    elseif header.fragment_index >= header.fragments then
        return string.format("fragment %d of a message of %d", header.fragment_index, header.fragments)
    end
    local bytes = math.min(header.fragment_bytes, header.message_length - offset)
    if header.payload_bytes ~= bytes then
        return string.format("payload of %d bytes, not %d", header.payload_bytes, bytes)
    end
    return nil
end

local function add_flags(tree, range)
    local flags = tree:add(f.flags, range)
    for _, field in ipairs({ f.crc_flag, f.rtx, f.idempotent, f.at_most_once, f.noreply, f.ce, f.priority }) do
        flags:add(field, range)
    end
end

local function add_aux(tree, range, header)
    if header.kind == REQ then
        tree:add(f.budget, range)
    elseif header.kind == RSP then
        header.status = range:range(0, 1):uint()
        local status = tree:add(f.status, range:range(0, 1))
        if header.status ~= 0 then
            status:add_proto_expert_info(e.bad_status)
        end
        tree:add(f.credit, range:range(1, 1))
        tree:add(header.status == BUSY and f.retry or f.service, range:range(2, 2))
    elseif header.kind == NACK then
        tree:add(f.missing, range)
    elseif header.kind == GRANT then
        tree:add(f.granted, range)
    elseif header.kind == PONG then
        tree:add(f.heard, range)
    else
        tree:add(f.aux, range)
    end
end

local function add_crc(tree, tvb, header)
    local range = tvb:range(CRC_OFFSET, 4)
    local item = tree:add(f.crc, range)
    local status = CRC_UNCHECKED
    if proto.prefs.check_crc and header.is_whole and bit.band(header.flags, FLAG_CRC) ~= 0 then
        local computed = datagram_crc(tvb)
        status = computed == range:uint() and CRC_GOOD or CRC_BAD
        if status == CRC_BAD then
            item:add(f.crc_computed, range, computed):set_generated()
        end
    end
    local shown = item:add(f.crc_status, range, status)
    shown:set_generated()
    shown:add_proto_expert_info(({ [CRC_BAD] = e.crc_bad, [CRC_GOOD] = e.crc_good })[status] or e.crc_unchecked)
    return status
end

local function add_bitmap(tree, value, first)
    local item = tree:add(f.bitmap, value)
    local indices = {}
    for at = 0, value:len() - 1 do
        local byte = value:range(at, 1):uint()
        for position = 0, 7 do
            if bit.band(byte, bit.rshift(0x80, position)) ~= 0 then
                local index = first + 8 * at + position
                indices[#indices + 1] = tostring(index)
                -- The first missing index can be anything: more than a field of 32 bits holds is left out.
                if index < 2 ^ 32 then
                    item:add(f.bitmap_missing, value:range(at, 1), index):set_generated()
                end
            end
        end
    end
    local text = table.concat(indices, " ", 1, math.min(#indices, 16))
    item:append_text(string.format(" (%d missing: %s%s)", #indices, text, #indices > 16 and " …" or ""))
end

-- Shows the TLVs of an area; why they are malformed, or nil.
local function add_tlvs(tree, area, header)
    local seen, at, length = {}, 0, area:len()
    while at < length do
        local kind = area:range(at, 1):uint()
        if kind == 0 then
            local padding = area:range(at)
            if padding:len() >= WORD_BYTES or padding:raw():find("[^\0]") then
                return "TLV padding is not zero, or a word or more"
            end
            return nil
        end
        if at + 2 > length then
            return "TLV without a length"
        end
        local bytes = area:range(at + 1, 1):uint()
        if at + 2 + bytes > length then
            return "TLV is longer than the header"
        end
        local tlv = tree:add(f.tlv, area:range(at, 2 + bytes))
        tlv:set_text("TLV: " .. (TLVS[kind] or "type " .. kind))
        tlv:add(f.tlv_type, area:range(at, 1))
        tlv:add(f.tlv_length, area:range(at + 1, 1))
        local value = bytes > 0 and area:range(at + 2, bytes) or nil
        if TLVS[kind] and (value == nil or seen[kind] or (TLV_BYTES[kind] or bytes) ~= bytes) then
            return "TLV twice, or of a wrong length: " .. TLVS[kind]
        end
        seen[kind] = true
        if kind == COOKIE then
            tlv:add(f.cookie, value)
        elseif kind == TRACE then
            tlv:add(f.trace_version, value:range(0, 1))
            tlv:add(f.trace_id, value:range(1, 16))
            tlv:add(f.trace_parent, value:range(17, 8))
        elseif kind == BITMAP then
            add_bitmap(tlv, value, header.kind == NACK and header.aux or 0)
        elseif kind == EPOCH then
            tlv:add(f.epoch, value)
        elseif value ~= nil then
            tlv:add(f.tlv_value, value)
        end
        at = at + 2 + bytes
    end
    return nil
end

-- First pass: what a fragment means for its message.
local function track_fragment(call, frame, header, tvb, number)
    local name = KINDS[header.kind]
    local message = call[name]
    -- Another length or size is another message under the same ID: a request that went again in other fragments.
    if message == nil or message.length ~= header.message_length or message.size ~= header.fragment_bytes then
        message = { length = header.message_length, size = header.fragment_bytes, first_in = {}, parts = {}, have = 0 }
        call[name] = message
    end
    frame.message = message
    local index = header.fragment_index
    if message.first_in[index] ~= nil then
        frame.again = message.first_in[index]
        return
    end
    message.first_in[index] = number
    message.have = message.have + 1
    if header.fragments > 1 and header.message_length <= MESSAGE_BYTES then
        message.parts[index + 1] = tvb:range(header.bytes):raw()
        if message.have == header.fragments then
            message.complete_in = number
            frame.data = table.concat(message.parts)
            message.parts = {}
        end
    end
end

-- First pass: which call a datagram belongs to.
local function track(pinfo, tvb, header)
    local here = tostring(pinfo.src) .. " " .. pinfo.src_port
    local there = tostring(pinfo.dst) .. " " .. pinfo.dst_port
    local ends = here < there and here .. " " .. there or there .. " " .. here
    local key = ends .. " " .. tostring(tvb:range(8, 8):bytes())
    local call = calls[key]
    if call == nil then
        call = {}
        calls[key] = call
    end
    local frame = { call = call }
    frames[pinfo.number] = frame
    if header.kind == REQ and call.request_in == nil then
        call.request_in, call.request_at = pinfo.number, pinfo.rel_ts
    elseif header.kind == RSP and (call.response_in == nil or call.busy) then
        call.response_in = pinfo.number
        call.busy = header.status == BUSY
    end
    if (header.kind == REQ or header.kind == RSP) and not wrong_fragment(header) then
        track_fragment(call, frame, header, tvb, pinfo.number)
    end
    if header.kind ~= REQ and call.request_in ~= nil then
        frame.elapsed = math.max(pinfo.rel_ts - call.request_at, 0)
    end
end

local function add_links(tree, frame, header, number)
    local call = frame.call
    if header.kind == REQ and call.response_in ~= nil then
        tree:add(f.response_in, call.response_in):set_generated()
    elseif header.kind ~= REQ and call.request_in ~= nil then
        tree:add(f.request_in, call.request_in):set_generated()
    end
    if header.kind == RSP and frame.elapsed ~= nil then
        local seconds = math.floor(frame.elapsed)
        local rest = math.floor((frame.elapsed - seconds) * 1e9 + 0.5)
        tree:add(f.response_time, NSTime.new(seconds, math.min(rest, 999999999))):set_generated()
    end
    if frame.again ~= nil then
        local item = tree:add(f.fragment_again, frame.again)
        item:set_generated()
        item:add_proto_expert_info(e.retransmission)
    end
    local message = frame.message
    if message ~= nil and message.complete_in ~= nil and message.complete_in ~= number then
        tree:add(f.reassembled_in, message.complete_in):set_generated()
    end
end

-- Lengths, payload and message; why they are wrong, or nil.
local function add_payload(tree, tvb, header, frame)
    local payload = tvb:len() > header.bytes and tvb:range(header.bytes) or nil
    if header.kind ~= REQ and header.kind ~= RSP then
        if payload ~= nil then
            tree:add(f.payload, payload)
        end
        return nil
    end
    local wrong = wrong_fragment(header)
    if not wrong then
        local text = string.format("fragment %d of %d", header.fragment_index + 1, header.fragments)
        tree:add(f.fragment, tvb:range(20, 4), text):set_generated()
        tree:add(f.fragment_count, tvb:range(16, 6), header.fragments):set_generated()
    end
    if payload ~= nil then
        tree:add(f.payload, payload)
    end
    if frame ~= nil and frame.data ~= nil and proto.prefs.reassemble then
        local whole = ByteArray.new(frame.data, true):tvb("λ-RPC message")
        tree:add(f.reassembled_length, #frame.data):set_generated()
        tree:add(f.message, whole:range())
    end
    return wrong
end

local function summary(header)
    local parts = { KINDS[header.kind] or "type " .. header.kind }
    if header.kind == RSP then
        parts[#parts + 1] = STATUSES[header.status] or "STATUS_" .. header.status
    end
    parts[#parts + 1] = "lambda " .. header.lambda
    if header.kind == NACK then
        parts[#parts + 1] = "from fragment " .. header.aux
    elseif header.kind == GRANT then
        parts[#parts + 1] = "up to fragment " .. header.aux
    elseif header.kind == REQ or header.kind == RSP then
        parts[#parts + 1] = header.message_length .. " bytes"
        if header.fragments > 1 then
            parts[#parts + 1] = string.format("fragment %d of %d", header.fragment_index + 1, header.fragments)
        end
    end
    if bit.band(header.flags, FLAG_RTX) ~= 0 then
        parts[#parts + 1] = "[RTX]"
    end
    return table.concat(parts, ", ")
end

local function malformed(tree, pinfo, reason)
    tree:add_proto_expert_info(e.malformed, reason)
    pinfo.cols.info = "Malformed λ-RPC: " .. reason
end

function proto.dissector(tvb, pinfo, root)
    if tvb:len() == 0 then
        return 0
    end
    pinfo.cols.protocol = "λ-RPC"
    local tree = root:add(proto, tvb:range())
    if tvb:len() < HEADER_BYTES then
        malformed(tree, pinfo, string.format("%d bytes are no header", tvb:len()))
        return tvb:len()
    end
    if tvb:range(0, 1):uint() ~= MAGIC_VERSION then
        malformed(tree, pinfo, "not magic A, version 1")
        return tvb:len()
    end

    local header = parse(tvb)
    tree:add(f.magic, tvb:range(0, 1))
    tree:add(f.version, tvb:range(0, 1))
    tree:add(f.kind, tvb:range(1, 1))
    tree:add(f.words, tvb:range(1, 1))
    add_flags(tree, tvb:range(2, 2))
    tree:add(f.lambda, tvb:range(4, 4))
    local request = tree:add(f.request, tvb:range(8, 8))
    request:add(f.session, tvb:range(8, 4))
    request:add(f.sequence, tvb:range(12, 4))
    tree:add(f.message_length, tvb:range(16, 4))
    tree:add(f.fragment_bytes, tvb:range(20, 2))
    tree:add(f.fragment_index, tvb:range(22, 2))
    add_aux(tree, tvb:range(24, 4), header)
    local crc_status = add_crc(tree, tvb, header)
    pinfo.cols.info = summary(header)
    tree:append_text(", " .. summary(header))

    local wrong
    if KINDS[header.kind] == nil then
        wrong = "unknown type " .. header.kind
    elseif header.bytes < HEADER_BYTES or header.bytes > tvb:reported_len() then
        wrong = string.format("header of %d bytes in a datagram of %d", header.bytes, tvb:reported_len())
    elseif header.bytes > tvb:len() then
        tree:add_proto_expert_info(e.cut)
        return tvb:len()
    elseif header.bytes > HEADER_BYTES then
        wrong = add_tlvs(tree, tvb:range(HEADER_BYTES, header.bytes - HEADER_BYTES), header)
    end
    if wrong then
        malformed(tree, pinfo, wrong)
        return tvb:len()
    end

    if not header.is_whole then
        tree:add_proto_expert_info(e.cut)
    elseif crc_status ~= CRC_BAD and not pinfo.visited and frames[pinfo.number] == nil then
        track(pinfo, tvb, header)
    end
    local frame = crc_status ~= CRC_BAD and frames[pinfo.number] or nil
    wrong = add_payload(tree, tvb, header, frame)
    if wrong then
        malformed(tree, pinfo, wrong)
    end
    if bit.band(header.flags, FLAG_RTX) ~= 0 and (frame == nil or frame.again == nil) then
        tree:add_proto_expert_info(e.retransmission)
    end
    if frame ~= nil then
        add_links(tree, frame, header, pinfo.number)
    end
    return tvb:len()
end

local ports = DissectorTable.get("udp.port")
local registered = proto.prefs.port
ports:add(registered, proto)

function proto.prefs_changed()
    if proto.prefs.port ~= registered then
        ports:remove(registered, proto)
        registered = proto.prefs.port
        ports:add(registered, proto)
    end
end

proto:register_heuristic("udp", function(tvb, pinfo, root)
    if not is_plausible(tvb) then
        return false
    end
    proto.dissector(tvb, pinfo, root)
    return true
end)
