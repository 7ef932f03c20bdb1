/// The artifacts that a stored fact refers to, read in place.
package enum MessageArtifacts {
    /// - Parameter payload: a `StoredRecord`.
    /// - Returns: nothing for what is no fact or cannot be read: it was judged when it was stored.
    package static func read(_ payload: UnsafeRawBufferPointer) -> [FactSubmission.Artifact] {
        guard let record = try? StoredRecord(payload), record.item == .message else { return [] }
        do throws(WireProblem) {
            return try facts(payload, record.itemRange)
        } catch {
            return []
        }
    }

    private static func facts(
        _ bytes: UnsafeRawBufferPointer, _ range: Range<Int>
    ) throws(WireProblem) -> [FactSubmission.Artifact] {
        var message = WireReader(bytes, range)
        var artifacts: [FactSubmission.Artifact] = []
        while let part = try message.next() {
            guard part.number == 2, part.type == .bytes else { continue }
            var fact = WireReader(bytes, part.content)
            while let field = try fact.next() {
                guard field.number == 5, field.type == .bytes else { continue }
                artifacts.append(
                    try SubmissionReader(bytes: bytes, refusals: nil).artifact(field.content))
            }
        }
        return artifacts
    }
}
