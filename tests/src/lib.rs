//! Nothing ships from here; the tests are in `tests/`.
