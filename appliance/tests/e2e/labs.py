"""An appliance, and a peer on the other end of its wire.

The tap's kernel side lies in the appliance's own namespace, and that is where the peer lives. AF_PACKET has a pair of
veths between two namespaces. Nothing touches the interfaces of the host.
"""

import contextlib
import os

from appliance import Appliance
from namespaces import Namespace
from wire import Wire

DRIVERS = ["tap", "af_packet"]
MODES = ["run-to-completion", "dispatcher"]
#: What hostile input is tried on: every driver, every mode, not each with each.
RIGS = [("tap", MODES[0]), ("af_packet", MODES[0]), ("tap", MODES[1])]

#: Settings for what is only certain where one NPU does everything.
ONE_WORKER = {"lcores": {"workers": [max(os.sched_getaffinity(0))]}}

IPV4 = "10.77.0.1"
IPV6 = "fd77::1"
PEER_IPV4 = "10.77.0.2"
PEER_IPV6 = "fd77::2"
PEER_MAC = "02:00:00:00:00:02"

#: The peer's interface, and that of the host port.
INTERFACE = "lnic0"
HOST_INTERFACE = "lnic-host"
#: The appliance's end of the veths.
NIC_INTERFACE = "wire0"

OFFLOADS = ["tx", "tso", "gso", "gro", "tx-udp-segmentation"]


class Lab:
    """A namespace for the appliance, one for its peer, the wire between them, and the appliance.

    `addressed`: the peer's kernel has addresses and speaks. Else it is silent, so that every frame is a test's own.
    `settings`: further tables of the configuration. `port_settings`: further keys of the port, such as "fault.drop".
    """

    def __init__(
        self,
        driver,
        binary,
        folder,
        lambdas,
        *,
        addressed=False,
        host=False,
        hugepages="off",
        mac=None,
        settings=None,
        port_settings=None,
    ):
        self.driver = driver
        #: The appliance's MAC address on the wire, once it is started.
        self.mac = None
        self.addressed = addressed
        self.host = host
        with contextlib.ExitStack() as stack:
            self.nic = self._namespace(stack, "nic", silent=driver != "tap" or not addressed)
            self.peer = self.nic if driver == "tap" else self._namespace(stack, "peer", silent=not addressed)
            port = {"name": "p0", "ipv4": IPV4, "ipv6": IPV6, **(port_settings or {})}
            if driver == "tap":
                port["devargs"] = f"net_tap0,iface={INTERFACE}"
            else:
                port["devargs"] = f"net_af_packet0,iface={NIC_INTERFACE}"
                self._veths()
            if mac is not None:
                port["mac"] = mac
            ports = [port]
            if host:
                port["host"] = "h0"
                ports.append({"name": "h0", "devargs": f"net_tap1,iface={HOST_INTERFACE}", "promiscuous": True})
            self.appliance = Appliance(binary, self.nic, folder, ports, lambdas, hugepages, settings)
            self._stack = stack.pop_all()

    @staticmethod
    def _namespace(stack, role, silent):
        namespace = Namespace(role)
        stack.callback(namespace.close)
        # Those of interfaces that come later.
        if silent:
            namespace.sysctl(ipv6__conf__default__disable_ipv6=1)
        else:
            namespace.sysctl(ipv6__conf__default__accept_dad=0, ipv6__conf__default__router_solicitations=0)
        namespace.run("ip", "link", "set", "lo", "up")
        return namespace

    def _veths(self):
        peer = ["peer", "name", INTERFACE, "netns", self.peer.name]
        self.nic.run("ip", "link", "add", NIC_INTERFACE, "type", "veth", *peer)
        self.nic.run("ip", "link", "set", NIC_INTERFACE, "up")
        self.peer.run("ip", "link", "set", INTERFACE, "up")
        self.offload(False)

    def offload(self, on):
        """Whether the peer's kernel leaves checksums and segmentation to a card. Veths only."""
        state = "on" if on else "off"
        features = [word for feature in OFFLOADS for word in (feature, state)]
        self.peer.run("ethtool", "-K", INTERFACE, *features)

    def start(self):
        """Starts the appliance and brings the peer up."""
        self._stack.callback(self.appliance.close)
        self.appliance.start()
        # The driver gives both ends of a tap the same MAC, which no wire has.
        self.peer.run("ip", "link", "set", INTERFACE, "address", PEER_MAC)
        if self.addressed:
            self.peer.run("ip", "address", "add", f"{PEER_IPV4}/24", "dev", INTERFACE)
            self.peer.run("ip", "-6", "address", "add", f"{PEER_IPV6}/64", "dev", INTERFACE, "nodad")
        self.peer.run("ip", "link", "set", INTERFACE, "up")
        if self.host:
            self.nic.run("ip", "link", "set", HOST_INTERFACE, "up")
        self.mac = self.appliance.stats()["ports"][0]["mac"]
        return self

    def sibling(self, settings):
        """A second appliance beside this one, on a tap of its own that nobody uses; started."""
        folder, ports, lambdas, hugepages = self.appliance._made_of  # pylint: disable=protected-access
        ports = [{**ports[0], "devargs": "net_tap7,iface=lnic7", "ipv4": "10.78.0.1", "ipv6": "fd78::1"}]
        sibling = Appliance(self.appliance.binary, self.nic, folder, ports, lambdas, hugepages, settings)
        self._stack.callback(sibling.close)
        return sibling.start()

    def wire(self):
        """The peer's end of the wire, for raw frames."""
        return Wire(self.peer, INTERFACE)

    def nic_wire(self):
        """The appliance's end of the veths, to see what arrives there."""
        return Wire(self.nic, NIC_INTERFACE)

    def host_wire(self):
        """The kernel's end of the host port."""
        return Wire(self.nic, HOST_INTERFACE)

    def cli(self, *arguments, timeout=30):
        """Runs `lnic` where the peer is."""
        return self.peer.run(self.appliance.binary, *arguments, check=False, timeout=timeout)

    def ask(self, command, *arguments):
        """Runs a command of `lnic` that speaks to the appliance."""
        return self.cli(command, *arguments, "--socket", str(self.appliance.socket))

    def close(self):
        """Stops the appliance and removes everything."""
        self._stack.close()
