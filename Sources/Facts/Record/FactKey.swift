/// What makes two facts of a stream the same one, by id.
package enum FactKey {
    /// SHA-256 over `"bsfg.key.v1\0"` and, each with its length, from_zone and message_id.
    package static func compute(fromZone: String, messageID: String) -> Digest {
        var (zone, identifier) = (fromZone, messageID)
        return zone.withUTF8 { zone in
            identifier.withUTF8 { identifier in
                compute(UnsafeRawBufferPointer(zone), UnsafeRawBufferPointer(identifier))
            }
        }
    }

    static func compute(
        _ fromZone: UnsafeRawBufferPointer, _ messageID: UnsafeRawBufferPointer
    ) -> Digest {
        var hash = SHA256()
        hash.update("bsfg.key.v1\0")
        hash.updateFramed(fromZone)
        hash.updateFramed(messageID)
        return hash.finish()
    }
}
