//! Allocator: gives services and tasks their addresses and ports.
