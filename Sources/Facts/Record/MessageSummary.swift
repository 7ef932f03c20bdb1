/// What other parts of a node ask about a stored message without decoding it.
package struct MessageSummary: Sendable {
    package let format: UInt32
    package let messageID: String
    package let fromZone: String
    package let subject: String
    package let key: Digest
    package let contentDigest: Digest

    /// `message` is the content of a record whose item is a message.
    package init(_ message: UnsafeRawBufferPointer) throws(MalformedRecord) {
        do throws(MessageView.Malformed) {
            let view = try MessageView(message)
            format = view.format
            messageID = MessageSummary.text(message, view.messageID)
            fromZone = MessageSummary.text(message, view.fromZone)
            subject = MessageSummary.text(message, view.subject)
            key = view.key()
            contentDigest = try view.contentDigest()
        } catch {
            throw MalformedRecord(error.sentence)
        }
    }

    private static func text(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) -> String {
        String(decoding: UnsafeRawBufferPointer(rebasing: bytes[range]), as: UTF8.self)
    }
}

/// The digest rules that this release writes and reads: `format_max` of a request.
package let messageFormatMaximum: UInt32 = MessageView.format
