import Testing

/// A real server on loopback, driven by curl and openssl.
@Suite(.serialized, .timeLimit(.minutes(15)))
struct ServerTests {}
