#![allow(unreachable_pub, missing_docs)]
#[path = "../tests/support/mod.rs"]
mod support;
use lnic::matcher::*;
use support::frames::*;
use support::lab::*;
fn main() {
    let udp = ethernet(None, 0x0800, &ipv4(&[], 17, &udp4(9, &[0x5A; 22])));
    let mut ruled = Deployed::from_tree("echo", "echo");
    ruled.rules = vec![|rule| Rule { protocol: Some(17), destination_port: PortRange::Exact(9), ..rule }];
    let mut by_rule = Lab::new(vec![ruled], false);
    let start = std::time::Instant::now();
    let n = 400_000u32;
    for _ in 0..n {
        for _ in 0..64 {
            by_rule.peers[0].send(&udp);
        }
        by_rule.breath.once();
        while by_rule.peers[0].receive().is_some() {}
    }
    println!("{} ns", start.elapsed().as_nanos() as f64 / f64::from(n) / 64.0);
}
