//! Bodies, as `faas-provider` documents them. Go clients write `null` for what is empty, and fields are added over time: both are
//! taken.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize};

/// A function to deploy.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FunctionDeployment {
    /// Its name.
    #[serde(default)]
    pub(super) service: String,
    /// Names its module.
    #[serde(default)]
    pub(super) image: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) namespace: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) env_vars: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) secrets: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) annotations: BTreeMap<String, String>,
    /// What lambdas have no use for; it is shown again.
    #[serde(flatten)]
    pub(super) container: Container,
}

/// What only containers have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Container {
    /// The process in it.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub(super) env_process: String,
    /// Nodes that it may run on.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub(super) constraints: Vec<String>,
    /// Most that it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) limits: Option<FunctionResources>,
    /// What is set aside for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) requests: Option<FunctionResources>,
    /// It cannot write files.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "std::ops::Not::not")]
    pub(super) read_only_root_filesystem: bool,
}

/// Resources, in Kubernetes' notation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FunctionResources {
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub(super) memory: String,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub(super) cpu: String,
    #[serde(
        default,
        rename = "nvidia.com/gpu",
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub(super) nvidia_gpu: String,
    #[serde(
        default,
        rename = "amd.com/gpu",
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub(super) amd_gpu: String,
    #[serde(
        default,
        rename = "intel.com/gpu",
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub(super) intel_gpu: String,
}

/// A function that is deployed.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FunctionStatus {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) namespace: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) env_vars: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) secrets: Vec<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(flatten)]
    pub(super) container: Container,
    pub(super) invocation_count: u64,
    pub(super) replicas: u32,
    pub(super) available_replicas: u32,
    /// RFC 3339.
    pub(super) created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<FunctionUsage>,
}

/// What a function's replicas use together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FunctionUsage {
    /// Thousandths of a CPU since it was last asked for.
    pub(super) cpu: f64,
    pub(super) total_memory_bytes: f64,
}

/// A function to remove.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeleteFunctionRequest {
    #[serde(default)]
    pub(super) function_name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) namespace: String,
}

/// A function to scale.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ScaleServiceRequest {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) service_name: String,
    pub(super) replicas: u64,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) namespace: String,
}

/// A secret; its value only ever comes in.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Secret {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) namespace: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) value: String,
    /// Its bytes if they are no text; base64 on the wire.
    #[serde(default, deserialize_with = "base64_or_default")]
    pub(super) raw_value: Vec<u8>,
}

/// A secret's name.
#[derive(Debug, Serialize)]
pub(super) struct SecretName {
    pub(super) name: String,
    pub(super) namespace: String,
}

/// A namespace.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct FunctionNamespace {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) labels: BTreeMap<String, String>,
}

/// A line of a log.
#[derive(Debug, Serialize)]
pub(super) struct Message {
    pub(super) name: String,
    pub(super) namespace: String,
    /// Which generation of the lambda said it.
    pub(super) instance: String,
    /// RFC 3339.
    pub(super) timestamp: String,
    pub(super) text: String,
}

/// What answers, as `faas-cli version` shows it.
#[derive(Debug, Serialize)]
pub(super) struct SystemInfo {
    pub(super) arch: &'static str,
    pub(super) provider: ProviderInfo,
    pub(super) version: VersionInfo,
}

/// Who runs functions.
#[derive(Debug, Serialize)]
pub(super) struct ProviderInfo {
    pub(super) provider: &'static str,
    pub(super) version: VersionInfo,
    pub(super) orchestration: &'static str,
}

/// A version.
#[derive(Debug, Serialize)]
pub(super) struct VersionInfo {
    pub(super) sha: &'static str,
    pub(super) release: &'static str,
}

fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn base64_or_default<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = zeroize::Zeroizing::new(Option::<String>::deserialize(deserializer)?.unwrap_or_default());
    STANDARD.decode(text.as_bytes()).map_err(|_| serde::de::Error::custom("rawValue: is no base64"))
}
