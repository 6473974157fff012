//! Proofs that need more of the machine than a test run may ask for.
