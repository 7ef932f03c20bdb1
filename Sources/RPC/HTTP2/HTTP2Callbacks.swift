internal import CNGHTTP2

/// nghttp2's C callbacks, each handing over to the session that owns it.
enum HTTP2Callbacks {
    static let dataProvider = nghttp2_data_provider(
        source: nghttp2_data_source(ptr: nil), read_callback: readData)

    /// An owner pointer that is good for as long as the session lives.
    static func makeSession(
        _ role: HTTP2Session.Role, limits: HTTP2Limits, owner: UnsafeMutableRawPointer
    ) -> OpaquePointer {
        var callbacks: OpaquePointer?
        precondition(nghttp2_session_callbacks_new(&callbacks) == 0, "out of memory")
        defer { nghttp2_session_callbacks_del(callbacks) }
        register(callbacks!)
        let options = makeOptions(limits)
        defer { nghttp2_option_del(options) }
        var session: OpaquePointer?
        let result =
            switch role {
            case .server: nghttp2_session_server_new2(&session, callbacks, owner, options)
            case .client: nghttp2_session_client_new2(&session, callbacks, owner, options)
            }
        precondition(result == 0, "out of memory")
        return session!
    }

    private static func makeOptions(_ limits: HTTP2Limits) -> OpaquePointer {
        var created: OpaquePointer?
        precondition(nghttp2_option_new(&created) == 0, "out of memory")
        let options = created!
        // The window grows when we have dealt with the bytes, not when they came.
        nghttp2_option_set_no_auto_window_update(options, 1)
        nghttp2_option_set_no_closed_streams(options, 1)
        nghttp2_option_set_max_reserved_remote_streams(options, 0)
        nghttp2_option_set_max_outbound_ack(options, limits.outboundAcknowledgements)
        nghttp2_option_set_max_settings(options, limits.settingsEntries)
        nghttp2_option_set_max_continuations(options, limits.continuations)
        nghttp2_option_set_stream_reset_rate_limit(
            options, limits.resetBurst, limits.resetsPerSecond)
        return options
    }

    private static func register(_ callbacks: OpaquePointer) {
        nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, beginFrame)
        nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, beginHeaders)
        nghttp2_session_callbacks_set_on_header_callback(callbacks, header)
        nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, invalidHeader)
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, dataChunk)
        nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, frameReceived)
        nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, invalidFrame)
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, streamClose)
        nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, frameSent)
        nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, frameNotSent)
        nghttp2_session_callbacks_set_send_data_callback(callbacks, sendData)
    }

    private static func owner(_ pointer: UnsafeMutableRawPointer?) -> HTTP2Session {
        Unmanaged<HTTP2Session>.fromOpaque(pointer!).takeUnretainedValue()
    }

    private static let resetStream = NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue

    private static let beginFrame: nghttp2_on_begin_frame_callback = { _, header, user in
        owner(user).frameBegins(header!.pointee) ? 0 : NGHTTP2_ERR_FLOODED.rawValue
    }

    private static let beginHeaders: nghttp2_on_begin_headers_callback = { _, frame, user in
        owner(user).headBegins(frame!.pointee)
        return 0
    }

    private static let header: nghttp2_on_header_callback = {
        _, frame, name, nameCount, value, valueCount, _, user in
        owner(user).headerReceived(
            frame!.pointee.hd.stream_id,
            UnsafeBufferPointer(start: name, count: nameCount),
            UnsafeBufferPointer(start: value, count: valueCount))
            ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE.rawValue
    }

    // nghttp2 would drop a field with forbidden bytes and go on; we refuse the request.
    private static let invalidHeader: nghttp2_on_invalid_header_callback = {
        _, _, _, _, _, _, _, _ in resetStream
    }

    private static let dataChunk: nghttp2_on_data_chunk_recv_callback = {
        _, _, stream, bytes, count, user in
        owner(user).dataReceived(stream, UnsafeBufferPointer(start: bytes, count: count))
        return 0
    }

    private static let frameReceived: nghttp2_on_frame_recv_callback = { _, frame, user in
        owner(user).frameReceived(frame!.pointee)
        return 0
    }

    private static let invalidFrame: nghttp2_on_invalid_frame_recv_callback = { _, _, _, user in
        owner(user).frameWasInvalid() ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE.rawValue
    }

    private static let streamClose: nghttp2_on_stream_close_callback = { _, stream, code, user in
        owner(user).streamCloses(stream, code)
        return 0
    }

    private static let frameSent: nghttp2_on_frame_send_callback = { _, frame, user in
        owner(user).frameSent(frame!.pointee) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE.rawValue
    }

    private static let frameNotSent: nghttp2_on_frame_not_send_callback = {
        _, frame, _, user in
        owner(user).frameNotSent(frame!.pointee)
        return 0
    }

    private static let readData: nghttp2_data_source_read_callback = {
        _, stream, _, count, flags, _, user in
        switch owner(user).dataToSend(stream, atMost: count) {
        case .streamIsGone: return Int(resetStream)
        case .later: return Int(NGHTTP2_ERR_DEFERRED.rawValue)
        case .bytes(let count, let isLast):
            flags!.pointee |= NGHTTP2_DATA_FLAG_NO_COPY.rawValue
            if isLast {
                flags!.pointee |= NGHTTP2_DATA_FLAG_EOF.rawValue
                if owner(user).submitTrailers(stream) {
                    flags!.pointee |= NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue
                }
            }
            return count
        }
    }

    private static let sendData: nghttp2_send_data_callback = {
        _, frame, frameHeader, count, _, user in
        let result = owner(user).sendData(
            frame!.pointee.hd.stream_id,
            frameHeader: UnsafeBufferPointer(start: frameHeader, count: 9), count: count)
        return switch result {
        case .sent: 0
        case .full: NGHTTP2_ERR_WOULDBLOCK.rawValue
        case .streamIsGone: resetStream
        }
    }
}
