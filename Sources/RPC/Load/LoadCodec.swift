/// What one connection of a load client writes and reads, without I/O.
protocol LoadCodec: Sendable {
    /// The protocol's name in ALPN.
    static var protocolName: String { get }
    /// Calls that may be under way at once.
    static var concurrentCalls: Int { get }

    /// Takes a call; its bytes are in the output, and its number comes back with the answer.
    mutating func send(_ body: [UInt8]) -> UInt32

    mutating func receive(_ bytes: some Collection<UInt8>)

    /// The next whole answer of what was received; nil when there is none yet.
    mutating func next() throws(LoadProblem) -> (number: UInt32, response: RPCResponse)?

    /// What is to be written, which is then forgotten; empty: nothing.
    mutating func takeOutput() -> [UInt8]
}

/// What the server sent that a load client cannot go on after.
struct LoadProblem: Error, Equatable {
    let sentence: String
}
