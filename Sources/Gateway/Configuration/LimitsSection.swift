internal import RPC

extension RPCServerLimits {
    static var counts: [(String, WritableKeyPath<RPCServerLimits, Int>)] {
        [
            ("connections", \.connections),
            ("connections_per_identity", \.connectionsPerIdentity),
            ("unauthenticated_connections", \.unauthenticatedConnections),
            ("unauthenticated_connections_per_address", \.unauthenticatedConnectionsPerAddress),
            ("administration_connections", \.administrationConnections),
            ("in_flight", \.inFlight),
            ("in_flight_per_identity", \.inFlightPerIdentity),
            ("header_fields", \.fields),
            ("http2_streams", \.http2Streams),
        ]
    }

    static var times: [(String, WritableKeyPath<RPCServerLimits, Int>)] {
        [
            ("handshake", \.handshakeMilliseconds),
            ("head", \.headMilliseconds),
            ("write_stall", \.writeStallMilliseconds),
            ("idle", \.idleMilliseconds),
        ]
    }

    static var sizes: [(String, WritableKeyPath<RPCServerLimits, Int>, ClosedRange<Int>)] {
        [
            ("head_size", \.headBytes, (1 << 10)...(1 << 20)),
            ("header_field_size", \.fieldBytes, (1 << 10)...(1 << 20)),
            ("body_size", \.bodyBytes, (64 << 10)...(64 << 20)),
            ("body_rate", \.bodyBytesPerSecond, 1...(1 << 30)),
            ("body_memory", \.bodyBudgetBytes, (1 << 20)...(16 << 30)),
            ("http2_connection_window", \.http2ConnectionWindowBytes, (64 << 10)...(64 << 20)),
            ("http2_stream_window", \.http2StreamWindowBytes, (16 << 10)...(64 << 20)),
        ]
    }

    private var http2Streams: Int {
        get { Int(http2.concurrentStreams) }
        set { http2.concurrentStreams = UInt32(newValue) }
    }

    private var http2ConnectionWindowBytes: Int {
        get { Int(http2.connectionWindowBytes) }
        set { http2.connectionWindowBytes = Int32(newValue) }
    }

    private var http2StreamWindowBytes: Int {
        get { Int(http2.streamWindowBytes) }
        set { http2.streamWindowBytes = UInt32(newValue) }
    }

    /// `limits` of `bsfg.yaml`; what is not given keeps its default.
    init(_ section: inout MappingReader) {
        self.init()
        for (key, path) in Self.counts {
            if let number = section.number(key, 1...1_000_000) { self[keyPath: path] = number }
        }
        for (key, path) in Self.times {
            if let time = section.milliseconds(key, 100...86_400_000) { self[keyPath: path] = time }
        }
        for (key, path, range) in Self.sizes {
            if let size = section.bytes(key, range) { self[keyPath: path] = size.value }
        }
        if bodyBudgetBytes < bodyBytes {
            section.problem(
                section.keyPosition("body_memory"),
                "body_memory (\(Quantity.bytesText(bodyBudgetBytes))) is less than one body of "
                    + "\(Quantity.bytesText(bodyBytes)); raise it or lower body_size")
        }
    }
}
