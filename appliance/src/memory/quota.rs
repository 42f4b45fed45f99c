//! How much of each region a lambda and its tenant may have.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lnic_compiler::Tier;

use super::MemoryError;

/// Bytes of each tier: of each NPU's Local, each island's CTM, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TierBytes(pub [u64; 4]);

impl TierBytes {
    /// As much as there is.
    pub const UNLIMITED: Self = Self([u64::MAX; 4]);

    /// Those of one tier.
    #[must_use]
    pub const fn of(&self, tier: Tier) -> u64 {
        self.0[tier.index()]
    }
}

/// Whose lambdas share a quota. Clones are the same tenant.
#[derive(Clone, Debug)]
pub struct Tenant(Arc<Ledger>);

/// A lambda's memory, and whose it is. Clones are the same lambda.
#[derive(Clone, Debug)]
pub struct Account(Arc<LambdaLedger>);

#[derive(Debug)]
struct LambdaLedger {
    own: Ledger,
    tenant: Tenant,
}

#[derive(Debug)]
struct Ledger {
    name: String,
    quota: TierBytes,
    /// Of all tiers together.
    total: u64,
    used: Mutex<Used>,
}

/// What is used of it.
#[derive(Debug, Default)]
struct Used {
    by_region: Vec<u64>,
    by_tier: [u64; 4],
}

/// Which bound a sum would be over, and how much of it is used.
enum Over {
    Region(u64),
    Total(u64),
}

impl Ledger {
    fn new(name: &str, quota: TierBytes, total: u64) -> Self {
        Self { name: name.to_owned(), quota, total, used: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        // A panic leaves no sum half done.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds; says what is used already if that is too much.
    fn add(&self, region: usize, tier: Tier, bytes: u64) -> Result<(), Over> {
        let mut used = self.lock();
        let all = used.by_tier.iter().fold(0, |sum: u64, bytes| sum.saturating_add(*bytes));
        if all.checked_add(bytes).is_none_or(|sum| sum > self.total) {
            return Err(Over::Total(all));
        }
        if used.by_region.len() <= region {
            used.by_region.resize(region + 1, 0);
        }
        match used.by_region[region].checked_add(bytes) {
            Some(sum) if sum <= self.quota.of(tier) => {
                used.by_region[region] = sum;
                used.by_tier[tier.index()] += bytes;
                Ok(())
            }
            _ => Err(Over::Region(used.by_region[region])),
        }
    }

    fn subtract(&self, region: usize, tier: Tier, bytes: u64) {
        let mut used = self.lock();
        if let Some(used) = used.by_region.get_mut(region) {
            *used = used.saturating_sub(bytes);
        }
        let of_tier = &mut used.by_tier[tier.index()];
        *of_tier = of_tier.saturating_sub(bytes);
    }
}

impl Tenant {
    /// A tenant whose lambdas may have so much together.
    #[must_use]
    pub fn new(name: &str, quota: TierBytes) -> Self {
        Self(Arc::new(Ledger::new(name, quota, u64::MAX)))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }
}

impl Account {
    /// Of a lambda that may have so much, as long as its tenant does not have too much.
    #[must_use]
    pub fn new(lambda: &str, quota: TierBytes, tenant: &Tenant) -> Self {
        Self::bounded(lambda, quota, u64::MAX, tenant)
    }

    /// The same for one that may have so many bytes in all, whatever of them is in which tier.
    #[must_use]
    pub fn bounded(lambda: &str, quota: TierBytes, total_bytes: u64, tenant: &Tenant) -> Self {
        let own = Ledger::new(lambda, quota, total_bytes);
        Self(Arc::new(LambdaLedger { own, tenant: tenant.clone() }))
    }

    /// Of a lambda that may have all: for tests and benchmarks.
    #[must_use]
    pub fn unlimited(lambda: &str) -> Self {
        Self::new(lambda, TierBytes::UNLIMITED, &Tenant::new("default", TierBytes::UNLIMITED))
    }

    /// The lambda's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.own.name
    }

    /// Bytes that it has of each tier.
    #[must_use]
    pub fn used_bytes(&self) -> TierBytes {
        TierBytes(self.0.own.lock().by_tier)
    }

    /// Takes bytes of a region, until the charge is dropped.
    pub(super) fn charge(
        &self,
        region: usize,
        tier: Tier,
        bytes: u64,
        name: impl Fn() -> String,
    ) -> Result<Charge, MemoryError> {
        let LambdaLedger { own, tenant } = &*self.0;
        match own.add(region, tier, bytes) {
            Ok(()) => {}
            Err(Over::Region(used)) => {
                return Err(MemoryError::Quota {
                    lambda: own.name.clone(),
                    region: name(),
                    wanted: bytes,
                    quota: own.quota.of(tier),
                    used,
                });
            }
            Err(Over::Total(used)) => {
                return Err(MemoryError::Total {
                    lambda: own.name.clone(),
                    region: name(),
                    wanted: bytes,
                    limit: own.total,
                    used,
                });
            }
        }
        if let Err(Over::Region(used) | Over::Total(used)) = tenant.0.add(region, tier, bytes) {
            own.subtract(region, tier, bytes);
            return Err(MemoryError::TenantQuota {
                lambda: own.name.clone(),
                tenant: tenant.0.name.clone(),
                region: name(),
                wanted: bytes,
                quota: tenant.0.quota.of(tier),
                used,
            });
        }
        Ok(Charge { account: self.clone(), region, tier, bytes })
    }
}

/// Bytes that a lambda has.
#[derive(Debug)]
pub(super) struct Charge {
    account: Account,
    region: usize,
    tier: Tier,
    bytes: u64,
}

impl Drop for Charge {
    fn drop(&mut self) {
        let LambdaLedger { own, tenant } = &*self.account.0;
        own.subtract(self.region, self.tier, self.bytes);
        tenant.0.subtract(self.region, self.tier, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_of_all_memory_is_over_all_tiers_and_regions() {
        let tenant = Tenant::new("acme", TierBytes::UNLIMITED);
        let it = Account::bounded("it", TierBytes([60, 60, 60, 90]), 100, &tenant);
        let charge = |region, tier, bytes| it.charge(region, tier, bytes, || tier.name().into());
        let first = charge(0, Tier::Ctm, 50).unwrap();
        let second = charge(1, Tier::Emem, 40).unwrap();
        assert_eq!(
            charge(2, Tier::Local, 11).unwrap_err().to_string(),
            "lambda \"it\": 11 bytes of local wanted: 90 of the 100 that it may have in all (memory_mib) are used"
        );
        assert!(charge(2, Tier::Local, u64::MAX).is_err());
        let third = charge(2, Tier::Local, 10).unwrap();
        drop(first);
        // Each tier's quota stands beside it.
        assert!(matches!(charge(1, Tier::Emem, 51).unwrap_err(), MemoryError::Total { .. }));
        drop(third);
        assert!(matches!(charge(1, Tier::Emem, 51).unwrap_err(), MemoryError::Quota { .. }));
        drop(second);
        drop(charge(1, Tier::Emem, 90).unwrap());
    }

    #[test]
    fn a_lambda_and_its_tenant_have_no_more_than_they_may() {
        let tenant = Tenant::new("acme", TierBytes([0, 0, 0, 100]));
        let one = Account::new("one", TierBytes([0, 0, 0, 70]), &tenant);
        let two = Account::new("two", TierBytes::UNLIMITED, &tenant);
        let charge = |account: &Account, region, bytes| {
            account.charge(region, Tier::Emem, bytes, || "emem".into()).map_err(|error| error.to_string())
        };
        let first = charge(&one, 0, 60).unwrap();
        assert_eq!(
            charge(&one, 0, 11).unwrap_err(),
            "lambda \"one\": 11 bytes of emem wanted: 60 of its quota of 70 are used"
        );
        assert_eq!(
            charge(&two, 0, 41).unwrap_err(),
            "lambda \"two\": 41 bytes of emem wanted: tenant \"acme\" uses 60 of its quota of 100"
        );
        // What was refused is not charged, and regions are counted apart.
        let second = charge(&two, 0, 40).unwrap();
        let elsewhere = charge(&one, 5, 70).unwrap();
        assert!(charge(&one, 0, u64::MAX).is_err());
        assert!(one.charge(0, Tier::Ctm, 1, String::new).is_err());
        assert!(charge(&one, 5, 1).is_err());
        drop((first, elsewhere));
        drop((charge(&one, 0, 60).unwrap(), charge(&one, 5, 70).unwrap()));
        drop(second);
        drop(charge(&two, 0, 100).unwrap());
    }
}
