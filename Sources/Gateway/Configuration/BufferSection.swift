internal import WriteAheadLog

/// Reads the keys that a stream has for its store log, and under `forward` for its forward logs. What
/// `forward` leaves out is as for the store log; only `when_full` is not (gateway decision 11).
struct BufferSection {
    /// A log has room for this many segments at least.
    private static let segmentsMinimum = 8
    private static let yearsMaximumMilliseconds = 100 * 365 * 24 * 3600 * 1000

    private let profile: StreamConfiguration.Profile
    private let isForward: Bool

    /// Both kinds of a stream's logs.
    static func read(
        _ stream: inout MappingReader, _ profile: StreamConfiguration.Profile
    ) -> (store: BufferConfiguration, forward: BufferConfiguration) {
        var store = BufferConfiguration()
        BufferSection(profile: profile, isForward: false).read(&stream, into: &store)
        var forward = store
        forward.policy = withoutDropping(store.policy)
        if var section = stream.mapping("forward") {
            BufferSection(profile: profile, isForward: true).read(&section, into: &forward)
            section.finish()
        }
        return (store, forward)
    }

    private static func withoutDropping(_ policy: LogPolicy) -> LogPolicy {
        guard case .standard(var standard) = policy else { return policy }
        standard.whenFull = .reject
        return .standard(standard)
    }

    private func read(_ section: inout MappingReader, into buffer: inout BufferConfiguration) {
        readSize(&section, &buffer)
        readPolicy(&section, &buffer)
        readWatermarks(&section, &buffer)
        readTimes(&section, &buffer)
        if let flag = section.flag("terminal") { buffer.isTerminal = flag.value }
        if let word = section.word("compression", BufferConfiguration.Compression.self) {
            buffer.compression = word.value
        }
        if let word = section.word("writing", CommitWriting.self) { buffer.writing = word.value }
        if let reserve = section.bytes("free_space_reserve", 0...(1 << 50)) {
            buffer.retention.freeSpaceReserveBytes = UInt64(reserve.value)
        }
    }

    private func readSize(_ section: inout MappingReader, _ buffer: inout BufferConfiguration) {
        let capacity = section.bytes("capacity", (1 << 20)...(1 << 50))
        buffer.capacityBytes = capacity?.value ?? buffer.capacityBytes
        let segment = section.bytes("segment", (1 << 20)...(4 << 30))
        if let segment {
            buffer.segmentBytes = segment.value
            if segment.value % (64 << 10) != 0 {
                section.problem(segment.position, "a segment is a multiple of 64KiB")
            }
        }
        if let bytes = buffer.segmentBytes {
            guard let position = segment?.position ?? capacity?.position,
                bytes > buffer.capacityBytes / Self.segmentsMinimum
            else { return }
            section.problem(
                position,
                "a segment of \(Quantity.bytesText(bytes)) does not fit "
                    + "\(Self.segmentsMinimum) times into the capacity of "
                    + Quantity.bytesText(buffer.capacityBytes))
        } else if let capacity, section.keyPosition("segment") == nil,
            capacity.value / Self.segmentsMinimum < 16 << 20
        {
            section.problem(
                capacity.position,
                "a capacity below 128MiB needs the key 'segment', which fits into it "
                    + "\(Self.segmentsMinimum) times and is at least 1MiB")
        }
    }

    /// The rules are those of `LogPolicy`: it says what a profile cannot do, the place is the key's.
    private func readPolicy(_ section: inout MappingReader, _ buffer: inout BufferConfiguration) {
        let whenFull = section.word("when_full", StandardPolicy.WhenFull.self)
        let lifetime = lifetime(&section)
        if isForward, let whenFull, whenFull.value == .dropOldest {
            return section.problem(
                whenFull.position,
                "a forward log never drops what it took over from another zone, so it cannot "
                    + "drop_oldest when full; leave it out, its pull pauses until there is room")
        }
        // Each key by itself, so that the problem stands where its cause does.
        check(whenFull?.value, .unspecified, whenFull?.position, section)
        check(nil, lifetime?.value ?? .unspecified, lifetime?.position, section)
        switch profile {
        case .silStrict: buffer.policy = .silStrict(StrictPolicy())
        case .standard:
            guard case .standard(var standard) = buffer.policy else { return }
            if let whenFull { standard.whenFull = whenFull.value }
            switch lifetime?.value {
            case .milliseconds(let time): standard.unconfirmedLifetimeMilliseconds = time
            case .never: standard.unconfirmedLifetimeMilliseconds = nil
            case .unspecified, nil: break
            }
            buffer.policy = .standard(standard)
        }
    }

    private func check(
        _ whenFull: StandardPolicy.WhenFull?, _ lifetime: LifetimeSetting,
        _ position: YAMLPosition?, _ section: MappingReader
    ) {
        do throws(LogError) {
            _ = try LogPolicy.parse(
                profile: profile.rawValue, whenFull: whenFull?.rawValue,
                unconfirmedLifetime: lifetime)
        } catch {
            section.problem(position, error.sentence)
        }
    }

    private func lifetime(_ section: inout MappingReader) -> Located<LifetimeSetting>? {
        section.value("unconfirmed_ttl", expected: "a duration from 1ms to 100 years or 'never'") {
            text in
            if text == "never" { return .never }
            guard let time = Quantity.milliseconds(text), time > 0,
                time <= Self.yearsMaximumMilliseconds
            else { return nil }
            return .milliseconds(Int64(time))
        }
    }

    private func readWatermarks(
        _ section: inout MappingReader, _ buffer: inout BufferConfiguration
    ) {
        let high = section.share("high_watermark", 0.1...0.95)
        let low = section.share("low_watermark", 0.1...0.95)
        if let high { buffer.retention.highWatermark = high.value }
        if let low { buffer.retention.lowWatermark = low.value }
        // A lower high watermark takes the low one along, as far as the defaults are apart.
        if let high, low == nil { buffer.retention.lowWatermark = max(0.1, high.value - 0.05) }
        guard let place = low ?? high,
            buffer.retention.lowWatermark >= buffer.retention.highWatermark
        else { return }
        section.problem(
            place.position,
            "the low watermark \(buffer.retention.lowWatermark) must be below the high watermark "
                + "\(buffer.retention.highWatermark), or the log would refuse and accept by turns")
    }

    private func readTimes(_ section: inout MappingReader, _ buffer: inout BufferConfiguration) {
        let range = 0...Self.yearsMaximumMilliseconds
        let retention = section.milliseconds("retention", range)
        let minimum = section.milliseconds("min_retention", range)
        if let retention { buffer.retention.retentionMilliseconds = Int64(retention) }
        if let minimum { buffer.retention.minimumRetentionMilliseconds = Int64(minimum) }
        if let horizon = section.milliseconds("dedupe_horizon", range) {
            buffer.retention.dedupeHorizonMilliseconds = Int64(horizon)
        }
        guard retention != nil || minimum != nil,
            let whole = buffer.retention.retentionMilliseconds,
            whole < buffer.retention.minimumRetentionMilliseconds
        else { return }
        section.problem(
            section.keyPosition("retention") ?? section.keyPosition("min_retention"),
            "the retention of \(Quantity.millisecondsText(Int(whole))) is shorter than the "
                + "min_retention of "
                + "\(Quantity.millisecondsText(Int(buffer.retention.minimumRetentionMilliseconds))); "
                + "raise one or lower the other")
    }
}
