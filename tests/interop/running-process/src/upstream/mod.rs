//! The places where the two releases differ. Both files offer the same names; everything else in this program is
//! written once.

#[cfg(not(feature = "newest"))]
mod release_4_5;
#[cfg(not(feature = "newest"))]
pub use release_4_5::*;

#[cfg(feature = "newest")]
mod release_4_10;
#[cfg(feature = "newest")]
pub use release_4_10::*;
