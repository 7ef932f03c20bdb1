import Testing

/// A real server on loopback, driven by curl and openssl.
@Suite(.serialized, .timeLimit(.minutes(5)))
struct ServerTests {}
