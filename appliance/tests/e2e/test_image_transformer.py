"""The image transformer against Pillow, images of one packet; larger ones are in test_messages.py."""

import struct

import pytest

import images
import lnic
import namespaces
from conftest import ROOT
from labs import DRIVERS, IPV4, IPV6, Lab

TRANSFORMER = 1
#: What the largest packet over IPv4 takes.
FRAGMENT_BYTES = 1440


@pytest.fixture(scope="module", params=DRIVERS)
def lab(request, binary, privileged, tmp_path_factory):
    """An appliance with this lambda."""
    folder = tmp_path_factory.mktemp("images")
    module = folder / "image-transformer.wasm"
    namespaces.run(binary, "build", str(ROOT / "lambdas" / "image-transformer"), "--output", str(module), timeout=120)
    made = Lab(request.param, binary, folder, {"image-transformer": module}, addressed=True)
    try:
        yield made.start()
    finally:
        made.close()


@pytest.fixture(params=[IPV4, IPV6])
def client(request, lab):
    """A client of it."""
    with lab.peer.inside(lambda: lnic.Client(request.param)) as made:
        yield made


def transform(client, message):
    """The reply to a message of one packet."""
    return client.call(TRANSFORMER, message, fragment_bytes=min(FRAGMENT_BYTES, client._room_bytes - 32)).payload


@pytest.mark.parametrize(
    "width, height",
    # Below, at and above the sixteen pixels of a vector, odd ones, and the largest that one packet takes.
    [(1, 1), (1, 3), (15, 1), (16, 1), (17, 1), (4, 4), (31, 1), (3, 11), (16, 16), (13, 17), (1, 353), (353, 1)],
)
def test_pixels_are_pillows(client, width, height):
    pixels = images.noise(width, height, seed=width * 1000 + height)
    assert transform(client, images.request(width, height, pixels)) == images.grey(width, height, pixels)


def test_rounding_is_pillows(client):
    count, pixels = images.edges()
    assert transform(client, images.request(count, 1, pixels)) == images.grey(count, 1, pixels)


def test_every_value_of_every_channel(client):
    for channel in range(3):
        pixels = bytearray(4 * 256)
        pixels[channel::4] = bytes(range(256))
        assert transform(client, images.request(16, 16, bytes(pixels))) == images.grey(16, 16, bytes(pixels))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        struct.pack("<I", 1),
        images.request(0, 0, b""),
        images.request(0, 5, b""),
        images.request(1, 1, b""),
        images.request(1, 1, bytes(3)),
        images.request(1, 1, bytes(5)),
        images.request(2, 2, bytes(12)),
        images.request(2, 2, bytes(20)),
        # Products that wrap round 32 bits, to 0 and to 4 pixels; four times one that wraps.
        images.request(0x10000, 0x10000, b""),
        images.request(0x80000001, 4, bytes(16)),
        images.request(0x40000001, 1, bytes(4)),
        images.request(0xFFFFFFFF, 0xFFFFFFFF, bytes(4)),
        # Big-endian.
        struct.pack(">II", 1, 1) + bytes(4),
    ],
    ids=lambda message: f"{message[:8].hex()}-{len(message)}",
)
def test_lengths_that_disagree_are_refused(client, message):
    with pytest.raises(lnic.InvalidArgument, match="width and height"):
        transform(client, message)
    assert transform(client, images.request(1, 1, b"\xff\xff\xff\xff"))[8:] == b"\xff"
