/// Why a server could not be made or started.
package struct RPCServerError: Error, Sendable, CustomStringConvertible {
    /// One sentence: what happened and what to do.
    package let sentence: String

    init(_ sentence: String) {
        self.sentence = sentence
    }

    package var description: String { sentence }
}
