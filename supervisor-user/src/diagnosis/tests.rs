//! Every rule, and what is easily confused with it.
