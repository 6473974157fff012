//! What callhistory is compared with: the baselines that this program runs itself. The servers in other languages and frameworks,
//! which are started by hand, are in the folder `peers/` of this crate.

pub(crate) mod postgres_baseline;
pub(crate) mod sqlite_baseline;
pub(crate) mod static_baseline;
