//! Pure: forgets ended tasks beyond the history limit, and services that are gone.
