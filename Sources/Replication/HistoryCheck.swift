package import Buffers
package import Facts

/// Whether a receiver's position continues the history that a source has: asked on every peer call,
/// so that a log which went back (a restore, `cp -a`, a virtual machine rolled back) is refused and
/// never merged.
///
///     position's log or epoch is another            the source is another one
///     position beyond the head                      the source went back
///     another record before the position            the source went back and went on
///     position below the cursor                     the receiver went back
package enum HistoryCheck {
    /// - Parameters:
    ///   - cursor: what the source knows of this receiver; nil before it has a cursor.
    ///   - recordDigest: the digest of the record at an offset, nil where the source has none. May
    ///     block.
    /// - Returns: why the histories differ, in one sentence, or nil when they agree.
    package static func mismatch(
        position: SourcePosition, identifier: [UInt8], epoch: UInt64, head: UInt64,
        cursor: TrackedCursor?,
        recordDigest: (UInt64) throws(BufferError) -> Digest?
    ) throws(BufferError) -> String? {
        guard position.logUUID == identifier else {
            return "the receiver's position is in log \(Hexadecimal.encode(position.logUUID)), this "
                + "is log \(Hexadecimal.encode(identifier))"
        }
        guard position.epoch == epoch else {
            return "the receiver's position is of epoch \(position.epoch), the log is in epoch "
                + "\(epoch)"
        }
        guard position.nextOffset <= head else {
            return "the receiver has up to offset \(position.nextOffset), the source ends at "
                + "\(head): the source went back"
        }
        if let cursor, position.nextOffset < cursor.nextOffset {
            return "the receiver is at offset \(position.nextOffset), it had confirmed up to "
                + "\(cursor.nextOffset): the receiver went back"
        }
        guard let digest = position.digest, let offset = position.digestOffset else {
            // Nothing was received yet: there is no record to compare. Who has confirmed one has it.
            return cursor?.digest == nil
                ? nil
                : "the receiver names no record before its position and had confirmed one: the "
                    + "receiver went back"
        }
        guard offset < position.nextOffset else {
            return "the receiver's position names a record at or after itself"
        }
        let known =
            cursor?.digestOffset == offset ? cursor?.digest : try recordDigest(offset)
        if let known, known != digest {
            return "the record at offset \(offset) is another one on each side: the source went "
                + "back and went on"
        }
        return nil
    }
}
