"""Images as the image transformer takes them, and what Pillow makes of them."""

import random
import struct

from PIL import Image

#: 2^18 pixels: 1 MiB of RGBA.
MIB_SIDE = 512


def request(width, height, pixels):
    """Width and height, little-endian, and RGBA pixels."""
    return struct.pack("<II", width, height) + pixels


def grey(width, height, pixels):
    """The reply that is right to the pixel: Pillow's."""
    return struct.pack("<II", width, height) + Image.frombytes("RGBA", (width, height), pixels).convert("L").tobytes()


def noise(width, height, seed=0):
    """Pixels of every kind."""
    return random.Random(seed).randbytes(4 * width * height)


def edges():
    """65 pixels: black, white, and every primary colour about where rounding turns."""
    colours = [(0, 0, 0, 0), (255, 255, 255, 255), (255, 255, 255, 0)]
    for channel in range(3):
        for value in (1, 2, 4, 5, 7, 8, 127, 128, 129, 253, 254, 255):
            colours.append(tuple(value if at == channel else 0 for at in range(3)) + (77,))
    colours += [(value, value, value, 255) for value in range(1, 27)]
    return len(colours), bytes(byte for colour in colours for byte in colour)
