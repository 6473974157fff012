//! Small documents with the shapes of published ones.
