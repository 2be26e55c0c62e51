//! What the updates amount to.
