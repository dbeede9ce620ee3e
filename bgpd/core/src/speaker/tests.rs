//! The speaker as the shell sees it.
