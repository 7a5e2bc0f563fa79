//! The cluster's certificate authority: join tokens and node certificates.
