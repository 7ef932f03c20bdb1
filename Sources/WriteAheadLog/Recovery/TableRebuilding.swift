/// Makes the table of a log whose table slots are both damaged from its segments' headers and
/// footers, as far as they prove it, and the state of one whose state slots are from its frames.
struct TableRebuilding {
    private struct Candidate {
        var header: SegmentHeader
        var hasFrames: Bool
    }

    let disk: any Disk
    let directory: String
    let names: [String]

    /// - Parameter identifier: of the state slot, when that is left.
    func table(_ identifier: LogIdentifier?) throws(RepairError) -> SegmentTable {
        let candidates = try candidates(identifier)
        let chain = try chain(candidates)
        let first = chain[0].header
        var table = SegmentTable(
            identifier: first.identifier, profile: first.profile,
            commitAlignment: first.commitAlignment,
            capacityBytes: chain[chain.count - 1].header.segmentBytes
                * FormatLimits.segmentsPerCapacity,
            segmentBytes: chain[chain.count - 1].header.segmentBytes)
        for (number, candidate) in chain.enumerated() {
            var entry = SegmentEntry(
                id: candidate.header.id, salt: candidate.header.salt,
                baseOffset: candidate.header.baseOffset,
                firstSequence: candidate.header.firstSequence, headerCRC: candidate.header.crc)
            if number + 1 < chain.count {
                let previous = number == 0 ? nil : table.segments[number - 1]
                let anchor = try close(
                    &entry, candidate.header, next: chain[number + 1].header, after: previous)
                if number == 0, let anchor { table.anchor = anchor }
            }
            table.segments.append(entry)
        }
        let ids = names.compactMap {
            SegmentHeader.id(fileName: $0) ?? KeyRunLayout.parse(fileName: $0)?.id
        }.filter { $0 < FormatLimits.counterMaximum }
        table.nextSegmentID = (ids.max() ?? 0) + 1
        return table
    }

    /// Every segment file of the log whose header verifies.
    private func candidates(_ identifier: LogIdentifier?) throws(RepairError) -> [Candidate] {
        var found: [Candidate] = []
        for name in names.sorted() where SegmentHeader.id(fileName: name) != nil {
            do throws(DiskError) {
                let file = try disk.open(directory + "/" + name, .read)
                let image = try SegmentImage(
                    file, limit: UInt64(2 * FormatLimits.commitAlignmentMaximum), uncached: true)
                guard let header = try? SegmentHeader(image.bytes),
                    SegmentHeader.fileName(id: header.id) == name,
                    identifier == nil || identifier == header.identifier
                else { continue }
                let front = UnsafeRawBufferPointer(
                    rebasing: image.bytes[min(Int(header.firstFramePosition), image.byteCount)...])
                let frame = try? FrameHeader(
                    front, salt: header.salt, position: header.firstFramePosition,
                    commitBytesMaximum: Int(header.commitBytesMaximum))
                found.append(Candidate(header: header, hasFrames: frame != nil))
            } catch { throw .log(.disk(error)) }
        }
        guard let first = found.first else { throw .notProvable("no segment's header verifies") }
        guard found.allSatisfy({ $0.header.identifier == first.header.identifier }) else {
            throw .notProvable("there are segments of more than one log")
        }
        return found
    }

    /// The segments from the newest back, each the one that the next one names.
    private func chain(_ candidates: [Candidate]) throws(RepairError) -> [Candidate] {
        func isBefore(_ left: Candidate, _ right: Candidate) -> Bool {
            (left.header.firstSequence, left.hasFrames ? 1 : 0, left.header.id)
                < (right.header.firstSequence, right.hasFrames ? 1 : 0, right.header.id)
        }
        var chain = [candidates.max(by: isBefore)!]
        while chain.count < FormatLimits.segmentCountMaximum {
            let next = chain[0].header
            var found = candidates.first { $0.header.id == next.previousID }
            if found == nil { found = try repacked(candidates, endingAt: next.firstSequence - 1) }
            guard let before = found, before.header.firstSequence <= next.firstSequence,
                before.header.baseOffset <= next.baseOffset, before.header.id != next.id
            else { break }
            chain.insert(before, at: 0)
        }
        let ids = Set(chain.map(\.header.id))
        // Of a segment and its dense copy either will do.
        let sequences = Set(chain.map(\.header.firstSequence))
        let stranger = candidates.first {
            $0.hasFrames && !ids.contains($0.header.id)
                && !sequences.contains($0.header.firstSequence)
        }
        if let stranger {
            throw .notProvable(
                "segment \(stranger.header.id) holds commits, and nothing between it and segment "
                    + "\(chain[0].header.id) is left")
        }
        return chain
    }

    /// A sealed segment that ends at a sequence: one that was repacked is not named by the next one.
    private func repacked(_ candidates: [Candidate], endingAt sequence: UInt64)
        throws(RepairError) -> Candidate?
    {
        for candidate in candidates where candidate.header.firstSequence <= sequence {
            do throws(DiskError) {
                let path = directory + "/" + SegmentHeader.fileName(id: candidate.header.id)
                let room = try FooterRoom.read(try disk.open(path, .read), header: candidate.header)
                if case .footer(let footer) = room, footer.segmentID == candidate.header.id,
                    footer.lastSequence == sequence
                {
                    return candidate
                }
            } catch { throw .log(.disk(error)) }
        }
        return nil
    }

    /// Completes the entry of a closed segment: from its footer, or from its frames.
    ///
    /// - Returns: what the footer says about the segment before.
    private func close(
        _ entry: inout SegmentEntry, _ header: SegmentHeader, next: SegmentHeader,
        after previous: SegmentEntry?
    ) throws(RepairError) -> Anchor? {
        entry.lastSequence = next.firstSequence - 1
        entry.fileBytes = header.segmentBytes
        entry.retentionMilliseconds = next.createdMilliseconds
        do throws(DiskError) {
            let file = try disk.open(
                directory + "/" + SegmentHeader.fileName(id: header.id), .read)
            if case .footer(let footer) = try FooterRoom.read(file, header: header),
                footer.segmentID == header.id, footer.salt == header.salt,
                footer.lastSequence == entry.lastSequence
            {
                entry.logicalEnd = footer.logicalEnd
                entry.leastTimeMilliseconds = footer.leastTimeMilliseconds
                entry.greatestTimeMilliseconds = footer.greatestTimeMilliseconds
                entry.digest = footer.digest
                entry.flags |= SegmentEntry.Flags.sealed
                return Anchor(
                    segmentID: header.previousID, lastSequence: header.firstSequence - 1,
                    digest: footer.previousDigest)
            }
            entry.logicalEnd = header.firstFramePosition
            let walker = SegmentWalker(
                file: file, header: header,
                to: SegmentWalker.End(
                    position: header.frameLimit, lastSequence: entry.lastSequence,
                    offset: next.baseOffset), isUncached: true)
            walking: while walker.sequence < entry.lastSequence {
                switch try walker.next() {
                case .frame(let frame):
                    entry.logicalEnd = frame.endPosition
                    _ = walker.records(of: frame) { item in
                        guard case .record(let record) = item else { return }
                        if entry.leastTimeMilliseconds == 0 {
                            entry.leastTimeMilliseconds = record.appendTimeMilliseconds
                        }
                        entry.greatestTimeMilliseconds = max(
                            entry.greatestTimeMilliseconds, record.appendTimeMilliseconds)
                    }
                case .damage, .searching: break
                case .end: break walking
                }
            }
            // What lies behind frames that cannot be read is not known to be zero.
            if walker.position != entry.logicalEnd { entry.flags |= SegmentEntry.Flags.cut }
        } catch { throw .log(.disk(error)) }
        return nil
    }

    /// A state that knows what headers tell; the changes in frames come on top.
    func state(_ table: SegmentTable) throws(RepairError) -> LogState {
        var epochs: [EpochEntry] = []
        var created: Int64 = 0
        for entry in table.segments {
            guard
                let file = try? disk.open(
                    directory + "/" + SegmentHeader.fileName(id: entry.id), .read),
                let image = try? SegmentImage(
                    file, limit: UInt64(FormatLimits.segmentHeaderBytes), uncached: true),
                let header = try? SegmentHeader(image.bytes)
            else { continue }
            if created == 0 { created = header.createdMilliseconds }
            guard header.epoch > epochs.last?.epoch ?? 0 else { continue }
            epochs.append(
                EpochEntry(
                    epoch: header.epoch, firstOffset: header.baseOffset,
                    beganMilliseconds: header.createdMilliseconds,
                    reason: "found in segment headers"))
        }
        guard !epochs.isEmpty else { throw .notProvable("no segment's header tells its epoch") }
        var state = LogState(identifier: table.identifier, createdMilliseconds: created)
        state.epochs = epochs.suffix(FormatLimits.epochCountMaximum - 1)
        return state
    }
}
