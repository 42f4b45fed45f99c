"""Messages of many packets through the real appliance, with and without loss, by the Python client."""

import random

import pytest

import images
import lnic
import namespaces
from conftest import ROOT
from labs import DRIVERS, IPV4, IPV6, MODES, RIGS, Lab

ECHO, TRANSFORMER = 1, 2
#: Further keys of a lambda that takes messages of 1 MiB and its header.
MESSAGE_SETTINGS = {"budget_us": 10_000, "message_slots": 8, "message_kib": 2048}
LENGTHS = [1025, 2048, 65_535, 65_536, 1 << 20]
#: Faults of what the appliance's port receives: requests, and GRANTs, NACKs and ACKs of replies.
FAULTS = {
    "loss": {"fault.drop": 0.05},
    "reordering": {"fault.reorder": 0.2},
    "duplicates": {"fault.duplicate": 0.2},
    "damage": {"fault.corrupt": 0.02},
    "all": {"fault.drop": 0.05, "fault.reorder": 0.1, "fault.duplicate": 0.1, "fault.corrupt": 0.01},
}

#: Every fault on both drivers; where requests wait in queues before they run, all faults together.
FAULTY_RIGS = [(driver, MODES[0], name) for driver in DRIVERS for name in FAULTS] + [("tap", MODES[1], "all")]


@pytest.fixture(scope="module")
def modules(binary, tmp_path_factory):
    """Echo and the image transformer, for messages of up to 1 MiB."""
    folder, made = tmp_path_factory.mktemp("modules"), {}
    for name in ("echo", "image-transformer"):
        file = folder / f"{name}.wasm"
        namespaces.run(binary, "build", str(ROOT / "lambdas" / name), "--output", str(file), timeout=120)
        made[name] = {"file": str(file), **MESSAGE_SETTINGS}
    return made


def _lab(driver, mode, binary, modules, folder, **options):
    settings = {"budget": {"max_us": 100_000}, "scheduling": {"mode": mode}}
    lab = Lab(driver, binary, folder, modules, addressed=True, settings=settings, **options)
    try:
        yield lab.start()
    finally:
        lab.close()


@pytest.fixture(scope="module", params=RIGS, ids="-".join)
def lab(request, binary, modules, privileged, tmp_path_factory):
    """A lab without faults."""
    yield from _lab(*request.param, binary, modules, tmp_path_factory.mktemp("messages"))


@pytest.fixture(scope="module", params=FAULTY_RIGS, ids="-".join)
def faulty(request, binary, modules, privileged, tmp_path_factory):
    """A lab whose port loses, doubles, reorders or damages what it receives."""
    driver, mode, name = request.param
    folder = tmp_path_factory.mktemp("faulty")
    yield from _lab(driver, mode, binary, modules, folder, port_settings={"fault.seed": 4793, **FAULTS[name]})


def client(lab, target=IPV4):
    """A client where the peer is."""
    return lab.peer.inside(lambda: lnic.Client(target))


def body(length, seed=0):
    """Bytes that tell whether each is in its place."""
    return random.Random(seed).randbytes(length)


@pytest.mark.parametrize("target", [IPV4, IPV6])
def test_one_packet_under_faults(faulty, target):
    """Each call is answered, however its packets are treated."""
    with client(faulty, target) as made:
        for number in range(40):
            payload = body(number * 25, seed=number)
            assert made.call(ECHO, payload, timeout=20.0).payload == payload


@pytest.mark.parametrize("target", [IPV4, IPV6])
@pytest.mark.parametrize("length", LENGTHS)
def test_echo(lab, target, length):
    payload = body(length)
    with lab.appliance.counting() as counted, client(lab, target) as made:
        assert made.call(ECHO, payload, timeout=10.0).payload == payload
    assert counted.lambdas["echo"]["invocations"] == 1
    frames = counted.frames
    assert frames["messages"] == frames["long_replies"] == 1
    # net_tap reads replies where they lie; net_af_packet makes no checksums, so they are copied.
    in_place = frames.get("sent_in_place", 0)
    assert (in_place > 0) == (lab.driver == "tap"), frames


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_dma_engine_places_requests(driver, binary, modules, privileged, tmp_path):
    settings = {"budget": {"max_us": 100_000}, "rpc": {"copy_engines": ["dma_skeleton0"]}}
    lab = Lab(driver, binary, tmp_path, modules, addressed=True, settings=settings)
    try:
        lab.start()
        with lab.appliance.counting() as counted, client(lab) as made:
            for length in (5_000, 1 << 20):
                payload = body(length)
                assert made.call(ECHO, payload, timeout=20.0).payload == payload
        # Of 1,029 parts all but those whose frame is needed for a GRANT or to run.
        assert counted.frames["placed_by_engine"] > 900
    finally:
        lab.close()


@pytest.mark.parametrize("fragment_bytes", [64, 1000, 1400])
def test_echo_in_fragments_of_any_size(lab, fragment_bytes):
    payload = body(65_536 + 13)
    with client(lab) as made:
        assert made.call(ECHO, payload, timeout=10.0, fragment_bytes=fragment_bytes).payload == payload


@pytest.mark.parametrize("options", [{}, {"at_most_once": True}, {"idempotent": True}], ids=str)
@pytest.mark.parametrize("length", [65_536, 1 << 20])
def test_echo_under_faults(faulty, length, options):
    payload = body(length)
    with faulty.appliance.counting() as counted, client(faulty) as made:
        assert made.call(ECHO, payload, timeout=60.0, **options).payload == payload
    if "at_most_once" in options:
        assert counted.lambdas["echo"]["invocations"] == 1


@pytest.mark.parametrize("width, height", [(16, 23), (128, 128), (257, 255), (images.MIB_SIDE, images.MIB_SIDE)])
def test_image(lab, width, height):
    pixels = images.noise(width, height)
    with client(lab) as made:
        reply = made.call(TRANSFORMER, images.request(width, height, pixels), timeout=10.0)
    assert reply.payload == images.grey(width, height, pixels)


def test_image_of_a_mebibyte_under_faults(faulty):
    pixels = images.noise(images.MIB_SIDE, images.MIB_SIDE)
    with client(faulty) as made:
        message = images.request(images.MIB_SIDE, images.MIB_SIDE, pixels)
        reply = made.call(TRANSFORMER, message, timeout=60.0)
    assert reply.payload == images.grey(images.MIB_SIDE, images.MIB_SIDE, pixels)


def test_an_image_that_is_no_image_is_refused_at_any_length(lab):
    with client(lab) as made, pytest.raises(lnic.InvalidArgument, match="width and height"):
        made.call(TRANSFORMER, images.request(100, 100, bytes(39_996)), timeout=10.0)
