/* What bindgen reads. Macros that it cannot evaluate become constants, inline code that it cannot name becomes functions. */
#include <stddef.h>

#include <rte_bus_vdev.h>
#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_dmadev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_memory.h>
#include <rte_mempool.h>
#include <rte_ring.h>
#include <rte_version.h>

/* RTE_BIT64 and casts hide these from bindgen. */
static const uint64_t LNIC_RX_OFFLOAD_IPV4_CKSUM = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
static const uint64_t LNIC_RX_OFFLOAD_UDP_CKSUM = RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
static const uint64_t LNIC_RX_OFFLOAD_TCP_CKSUM = RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
static const uint64_t LNIC_TX_OFFLOAD_IPV4_CKSUM = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
static const uint64_t LNIC_TX_OFFLOAD_UDP_CKSUM = RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
static const uint64_t LNIC_TX_OFFLOAD_MULTI_SEGS = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
static const uint64_t LNIC_RSS_IP = RTE_ETH_RSS_IP;
static const uint64_t LNIC_RSS_UDP = RTE_ETH_RSS_UDP;
static const uint64_t LNIC_RSS_TCP = RTE_ETH_RSS_TCP;

static const uint64_t LNIC_RX_IP_CKSUM_MASK = RTE_MBUF_F_RX_IP_CKSUM_MASK;
static const uint64_t LNIC_RX_IP_CKSUM_GOOD = RTE_MBUF_F_RX_IP_CKSUM_GOOD;
static const uint64_t LNIC_RX_IP_CKSUM_BAD = RTE_MBUF_F_RX_IP_CKSUM_BAD;
static const uint64_t LNIC_RX_L4_CKSUM_MASK = RTE_MBUF_F_RX_L4_CKSUM_MASK;
static const uint64_t LNIC_RX_L4_CKSUM_GOOD = RTE_MBUF_F_RX_L4_CKSUM_GOOD;
static const uint64_t LNIC_RX_L4_CKSUM_BAD = RTE_MBUF_F_RX_L4_CKSUM_BAD;
static const uint64_t LNIC_TX_IPV4 = RTE_MBUF_F_TX_IPV4;
static const uint64_t LNIC_TX_IPV6 = RTE_MBUF_F_TX_IPV6;
static const uint64_t LNIC_TX_IP_CKSUM = RTE_MBUF_F_TX_IP_CKSUM;
static const uint64_t LNIC_TX_UDP_CKSUM = RTE_MBUF_F_TX_UDP_CKSUM;
/* Where the buffer's memory comes from: they decide how it is freed. */
static const uint64_t LNIC_MBUF_ATTACHED = RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;

static const uint64_t LNIC_DMA_CAPA_MEM_TO_MEM = RTE_DMA_CAPA_MEM_TO_MEM;
static const uint64_t LNIC_DMA_CAPA_SVA = RTE_DMA_CAPA_SVA;
static const uint64_t LNIC_DMA_CAPA_HANDLES_ERRORS = RTE_DMA_CAPA_HANDLES_ERRORS;
static const uint64_t LNIC_DMA_CAPA_OPS_COPY = RTE_DMA_CAPA_OPS_COPY;

static const unsigned int LNIC_RING_F_SP_ENQ = RING_F_SP_ENQ;
static const unsigned int LNIC_RING_F_SC_DEQ = RING_F_SC_DEQ;
static const unsigned int LNIC_LCORE_ID_ANY = LCORE_ID_ANY;
static const uint16_t LNIC_MBUF_HEADROOM = RTE_PKTMBUF_HEADROOM;

/* rte_errno is a thread local behind a macro. */
static inline int lnic_errno(void) { return rte_errno; }

/* The overlay in src/mbuf.rs: the fields nest differently from release to release, at the same offsets. */
#define LNIC_AT(field, offset) \
	_Static_assert(offsetof(struct rte_mbuf, field) == (offset), "rte_mbuf." #field " has moved")
LNIC_AT(buf_addr, 0);
LNIC_AT(data_off, 16);
LNIC_AT(refcnt, 18);
LNIC_AT(nb_segs, 20);
LNIC_AT(port, 22);
LNIC_AT(ol_flags, 24);
LNIC_AT(packet_type, 32);
LNIC_AT(pkt_len, 36);
LNIC_AT(data_len, 40);
LNIC_AT(buf_len, 54);
LNIC_AT(pool, 56);
LNIC_AT(next, 64);
LNIC_AT(tx_offload, 72);
/* Counted from Rust too: src/external.rs. */
_Static_assert(sizeof(((struct rte_mbuf_ext_shared_info *)0)->refcnt) == 2, "rte_mbuf_ext_shared_info.refcnt has another type");
_Static_assert(sizeof(struct rte_mbuf) == 128, "rte_mbuf has grown");
