//! `[models.quantization]`: quantisation of a model on load.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounded::{FilePath, Text};

/// Quantisation on load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QuantizationConfig {
    /// Level, or `auto`: a prequantised file where there is one, else quantisation on load.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--quant",
        "x-conflicts" = ["models.quantization.isq", "models.quantization.from_uqff"]))]
    pub quant: Option<Text>,
    /// Level or type to quantise to on load.
    #[serde(skip_serializing_if = "Option::is_none", alias = "in_situ_quant")]
    #[schemars(extend("x-flag" = "--isq", "x-alias" = "in_situ_quant"))]
    pub isq: Option<Text>,
    /// Prequantised UQFF: a file, level or type; several separated by `;`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--from-uqff"))]
    pub from_uqff: Option<Text>,
    /// Which weights are quantised on load.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--isq-organization", "x-default" = "default"))]
    pub isq_organization: Option<IsqOrganization>,
    /// Importance matrix file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--imatrix"))]
    pub imatrix: Option<FilePath>,
    /// Text to compute an importance matrix from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--calibration-file", "x-conflicts" = ["models.quantization.imatrix"]))]
    pub calibration_file: Option<FilePath>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum IsqOrganization {
    Default,
    Moqe,
}
