//! What the models with the generic core do beyond the reference files.

use super::*;
