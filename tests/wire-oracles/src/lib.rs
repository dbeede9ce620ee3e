//! Nothing but tests: two codecs by other people read what ours writes, and judge what ours judges.
//! They stand apart from `bgp-core` so that its own tests need not wait for them to compile.
