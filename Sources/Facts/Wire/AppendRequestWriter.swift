/// Writes append requests from facts that a client encoded already: what leaves is byte for byte
/// what the node will store, and labels never pass through a dictionary.
package enum AppendRequestWriter {
    package static func appendFact(stream: String, _ fact: EncodedFact) -> [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity(fact.messageRange.count + stream.utf8.count + 8)
        WireWriter.append(1, text: stream, to: &output)
        fact.storedRecord.withUnsafeBytes { bytes in
            var reader = WireReader(bytes, fact.messageRange)
            do throws(WireProblem) {
                // Envelope and fact, one number higher than in a message.
                while let field = try reader.next() {
                    guard field.number <= 2 else { continue }
                    WireWriter.append(
                        field.number + 1, bytes: reader.slice(field.content), to: &output)
                }
            } catch {
                preconditionFailure("the encoder wrote what cannot be read: \(error.text)")
            }
        }
        return output
    }

    package static func appendFacts(
        stream: String, _ facts: some Sequence<EncodedFact>, stopOnError: Bool = false
    ) -> [UInt8] {
        var output: [UInt8] = []
        WireWriter.append(1, text: stream, to: &output)
        for fact in facts {
            fact.storedRecord.withUnsafeBytes { bytes in
                WireWriter.append(
                    2, bytes: UnsafeRawBufferPointer(rebasing: bytes[fact.messageRange]),
                    to: &output)
            }
        }
        if stopOnError { WireWriter.append(3, varint: 1, to: &output) }
        return output
    }
}
