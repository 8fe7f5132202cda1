//! `[models.multimodal]`: limits of images, video and audio of a model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounded::Bounded;

/// Limits of images, video and audio.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MultimodalConfig {
    /// Longest edge of an image in pixels; larger ones are scaled down.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--max-edge", "x-default" = "what the model takes"))]
    pub max_edge: Option<Bounded<1, 65_536>>,
    /// Images of a request that memory is planned for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--max-num-images", "x-default" = "1"))]
    pub max_num_images: Option<Bounded<1, 65_536>>,
    /// Edge of an image in pixels that memory is planned for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--max-image-length", "x-default" = "1024"))]
    pub max_image_length: Option<Bounded<1, 65_536, 1024>>,
}
