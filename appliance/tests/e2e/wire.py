"""Raw frames on an interface, exactly as they are on the wire."""

import socket
import struct
import time

ETH_P_ALL = 0x0003
SOL_PACKET = 263
PACKET_AUXDATA = 8
PACKET_IGNORE_OUTGOING = 23
SO_RCVBUFFORCE = 33
STATUS_CHECKSUM_NOT_READY = 1 << 3
STATUS_VLAN_VALID = 1 << 4
STATUS_VLAN_TPID_VALID = 1 << 6
# struct tpacket_auxdata
AUXDATA = struct.Struct("=IIIHHHH")


class Wire:
    """An interface of a namespace, for sending and receiving whole Ethernet frames.

    The kernel takes VLAN tags out of what it receives; they are put back. Use as a context manager.
    """

    def __init__(self, namespace, interface):
        def make():
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
            made.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            made.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            made.bind((interface, ETH_P_ALL))
            return made

        self.socket = namespace.inside(make)
        #: Whether the sender of the last frame left its checksum to a card.
        self.checksum_was_partial = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, frame):
        """Sends a frame: bytes, or a packet of scapy's."""
        data = bytes(frame)
        if self.socket.send(data) != len(data):
            raise AssertionError("frame was cut")

    def receive(self, timeout_s=1.0, wanted=lambda frame: True):
        """The next frame that is wanted, or None; others are thrown away."""
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                frame = self._read()
            except TimeoutError:
                return None
            if wanted(frame):
                return frame
        return None

    def drain(self):
        """Everything that has arrived."""
        frames = []
        self.socket.setblocking(False)
        try:
            while True:
                frames.append(self._read())
        except BlockingIOError:
            return frames

    def _read(self):
        frame, ancillary, _, _ = self.socket.recvmsg(1 << 16, socket.CMSG_SPACE(AUXDATA.size))
        self.checksum_was_partial = False
        for level, kind, data in ancillary:
            if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                status, _, _, _, _, tag, protocol = AUXDATA.unpack(data[: AUXDATA.size])
                self.checksum_was_partial = bool(status & STATUS_CHECKSUM_NOT_READY)
                if status & STATUS_VLAN_VALID:
                    protocol = protocol if status & STATUS_VLAN_TPID_VALID else 0x8100
                    frame = frame[:12] + struct.pack(">HH", protocol, tag) + frame[12:]
        return frame
