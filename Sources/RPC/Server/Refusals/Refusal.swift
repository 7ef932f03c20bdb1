/// One time that the server did not let somebody in, or did not let somebody have something: the event that
/// the operators of both sides look for.
package struct Refusal: Sendable, Equatable {
    package enum Place: String, Sendable, CaseIterable {
        /// In the handshake: the other side has an alert, or only the end of its connection.
        case handshake
        /// In the look at the certificate after it, also a later one at a connection that is open.
        case certificate
        /// A call for which the caller has no grant or role.
        case request
    }

    /// Rises by one with each that is kept, from 1 on.
    package internal(set) var number: UInt64 = 0
    package var unixMilliseconds: Int64
    package var place: Place
    /// One of a fixed set of words, as it is counted.
    package var reason: String
    package var sentence: String
    /// As configured, where the certificate was that of an entry; else empty.
    package var identity = ""
    /// Of the certificate, as `kind:text` before somebody was let in, as configured afterwards.
    package var names: [String] = []
    /// SHA-256 of the certificate, lower-case hex; empty where there was none.
    package var fingerprint = ""
    /// The other side's IP address; empty where it is not known any more.
    package var address = ""
    /// What was called; of requests only.
    package var path = ""

    package init(unixMilliseconds: Int64, place: Place, reason: String, sentence: String) {
        self.unixMilliseconds = unixMilliseconds
        self.place = place
        self.reason = reason
        self.sentence = sentence
    }

    static let namesMaximum = 8
    static let textBytesMaximum = 256
    static let sentenceBytesMaximum = 1_024

    /// What strangers wrote in it cut to its limits.
    var bounded: Refusal {
        func cut(_ text: String, _ bytes: Int) -> String {
            text.utf8.count <= bytes ? text : String(decoding: text.utf8.prefix(bytes), as: UTF8.self)
        }
        var refusal = self
        refusal.sentence = cut(sentence, Self.sentenceBytesMaximum)
        refusal.names = names.prefix(Self.namesMaximum).map { cut($0, Self.textBytesMaximum) }
        refusal.path = cut(path, Self.textBytesMaximum)
        return refusal
    }
}
