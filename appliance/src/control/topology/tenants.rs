//! Tenants, as `[[tenants]]` says: whose lambdas share a quota of memory.

use std::collections::BTreeSet;

use toml::Spanned;

use super::{memory, ports};
use crate::control::config::{Problems, raw};
use crate::memory::TierBytes;

/// Whose lambdas are that name no tenant.
const DEFAULT: &str = "default";

/// One tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantSpec {
    /// Its name.
    pub name: String,
    /// Most bytes of each region that its lambdas may have together.
    pub quota: TierBytes,
}

/// Judges all tenants. One that is named "default" is there in any case.
pub(super) fn tenants(raw: &[Spanned<raw::Tenant>], problems: &mut Problems<'_>) -> Vec<TenantSpec> {
    let mut names = BTreeSet::new();
    let mut tenants = Vec::new();
    for (at, raw) in raw.iter().enumerate() {
        let (span, raw) = (raw.span(), raw.get_ref());
        let name = raw.name.as_ref().map(|name| name.get_ref().clone()).unwrap_or_default();
        let place = if name.is_empty() {
            format!("[[tenants]] number {}", at + 1)
        } else {
            format!("tenant \"{name}\"")
        };
        ports::judge_name(&place, &raw.name, Some(span), problems);
        if let Some(value) = &raw.name
            && !names.insert(name.clone())
        {
            problems.wrong(Some(value.span()), format!("{place}: there is another tenant of this name"));
        }
        let mib = [&raw.local_mib, &raw.ctm_mib, &raw.imem_mib, &raw.emem_mib];
        let quota = memory::tier_bytes(&format!("{place}: "), mib, TierBytes::UNLIMITED, problems);
        tenants.push(TenantSpec { name, quota });
    }
    if !names.contains(DEFAULT) {
        tenants.insert(0, TenantSpec { name: DEFAULT.into(), quota: TierBytes::UNLIMITED });
    }
    tenants
}

/// The place of the tenant that a lambda names; the default one's if it names none.
pub(super) fn place(
    place: &str,
    name: &raw::Value<String>,
    tenants: &[TenantSpec],
    problems: &mut Problems<'_>,
) -> usize {
    let names = || tenants.iter().map(|tenant| tenant.name.as_str());
    match name {
        Some(name) => problems.named(place, "tenant", name, names()).unwrap_or(0),
        None => names().position(|name| name == DEFAULT).unwrap_or(0),
    }
}
