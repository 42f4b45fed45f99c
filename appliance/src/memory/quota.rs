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
    /// By region.
    used: Mutex<Vec<u64>>,
}

impl Ledger {
    fn new(name: &str, quota: TierBytes) -> Self {
        Self { name: name.to_owned(), quota, used: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u64>> {
        // A panic leaves no sum half done.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds; says what is used already if that is too much.
    fn add(&self, region: usize, tier: Tier, bytes: u64) -> Result<(), u64> {
        let mut used = self.lock();
        if used.len() <= region {
            used.resize(region + 1, 0);
        }
        match used[region].checked_add(bytes) {
            Some(sum) if sum <= self.quota.of(tier) => {
                used[region] = sum;
                Ok(())
            }
            _ => Err(used[region]),
        }
    }

    fn subtract(&self, region: usize, bytes: u64) {
        if let Some(used) = self.lock().get_mut(region) {
            *used = used.saturating_sub(bytes);
        }
    }
}

impl Tenant {
    /// A tenant whose lambdas may have so much together.
    #[must_use]
    pub fn new(name: &str, quota: TierBytes) -> Self {
        Self(Arc::new(Ledger::new(name, quota)))
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
        Self(Arc::new(LambdaLedger { own: Ledger::new(lambda, quota), tenant: tenant.clone() }))
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

    /// Takes bytes of a region, until the charge is dropped.
    pub(super) fn charge(
        &self,
        region: usize,
        tier: Tier,
        bytes: u64,
        name: impl Fn() -> String,
    ) -> Result<Charge, MemoryError> {
        let LambdaLedger { own, tenant } = &*self.0;
        if let Err(used) = own.add(region, tier, bytes) {
            return Err(MemoryError::Quota {
                lambda: own.name.clone(),
                region: name(),
                wanted: bytes,
                quota: own.quota.of(tier),
                used,
            });
        }
        if let Err(used) = tenant.0.add(region, tier, bytes) {
            own.subtract(region, bytes);
            return Err(MemoryError::TenantQuota {
                lambda: own.name.clone(),
                tenant: tenant.0.name.clone(),
                region: name(),
                wanted: bytes,
                quota: tenant.0.quota.of(tier),
                used,
            });
        }
        Ok(Charge { account: self.clone(), region, bytes })
    }
}

/// Bytes that a lambda has.
#[derive(Debug)]
pub(super) struct Charge {
    account: Account,
    region: usize,
    bytes: u64,
}

impl Drop for Charge {
    fn drop(&mut self) {
        let LambdaLedger { own, tenant } = &*self.account.0;
        own.subtract(self.region, self.bytes);
        tenant.0.subtract(self.region, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
