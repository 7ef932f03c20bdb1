internal import Foundation
package import SwiftProtobuf

/// The two encodings of Connect's messages.
package enum WireEncoding: Sendable {
    case json
    case proto
}

/// Requests strictly, answers leniently, in both encodings.
package enum WireCodec {
    /// Deeply nested answers of a later release must not overflow a stack.
    private static let depthLimit = 200

    private static var binaryOptions: BinaryDecodingOptions {
        var options = BinaryDecodingOptions()
        options.messageDepthLimit = depthLimit
        return options
    }

    // MARK: Requests

    package static func decodeAppendFact(
        _ body: [UInt8], _ encoding: WireEncoding
    ) throws(ServiceError) -> AppendFactSubmission {
        let (bytes, refusals) = try requestBytes(body, encoding, "AppendFactRequest")
        return try read(bytes, refusals) { reader throws(WireProblem) in try reader.appendFact() }
    }

    package static func decodeAppendFacts(
        _ body: [UInt8], _ encoding: WireEncoding
    ) throws(ServiceError) -> AppendFactsSubmission {
        let (bytes, refusals) = try requestBytes(body, encoding, "AppendFactsRequest")
        var batch = try read(bytes, refusals) { reader throws(WireProblem) in try reader.appendFacts() }
        (batch.bytes, batch.refusals) = (bytes, refusals)
        return batch
    }

    /// One `Message` in JSON, as a line of `bsfg ingest` may hold it.
    package static func decodeMessage(
        _ body: [UInt8], _ encoding: WireEncoding
    ) throws(ServiceError) -> FactSubmission {
        let (bytes, refusals) = try requestBytes(body, encoding, "Message")
        return try read(bytes, refusals) { reader throws(WireProblem) in
            try reader.message(0..<reader.bytes.count)
        }
    }

    /// Every other request. Messages that carry facts have readers of their own above.
    package static func decodeRequest<Request: SwiftProtobuf.Message>(
        _ type: Request.Type, _ body: [UInt8], _ encoding: WireEncoding
    ) throws(ServiceError) -> Request {
        let schema = WireSchema.message(named: Request.protoMessageName)
        precondition(
            !schema.name.hasPrefix("AppendFact"), "facts are read by decodeAppendFact(s)")
        let bytes =
            switch encoding {
            case .proto:
                try validated(body, schema)
            case .json:
                try converted(body, schema, isLenient: false).bytes
            }
        do {
            return try Request(serializedBytes: bytes, options: binaryOptions)
        } catch {
            throw ServiceError(
                .malformedRequest, "The body is not a bsfg.v1.\(schema.name); send one.")
        }
    }

    // MARK: Answers

    package static func encode(
        _ message: some SwiftProtobuf.Message, _ encoding: WireEncoding
    ) -> [UInt8] {
        let bytes: [UInt8] = (try? message.serializedBytes()) ?? []
        do throws(MalformedRecord) {
            return try encode(
                protobuf: bytes, messageName: type(of: message).protoMessageName, encoding)
        } catch {
            preconditionFailure("our own message is not readable: \(error.sentence)")
        }
    }

    /// A message that is bytes already, such as a page: standard proto3 JSON where JSON is wanted.
    /// Throws where stored bytes are not what the contract says.
    package static func encode(
        protobuf bytes: [UInt8], messageName: String, _ encoding: WireEncoding
    ) throws(MalformedRecord) -> [UInt8] {
        switch encoding {
        case .proto: bytes
        case .json: try json(bytes, messageName, .standard)
        }
    }

    package static func decodeResponse<Response: SwiftProtobuf.Message>(
        _ type: Response.Type, _ body: [UInt8], _ encoding: WireEncoding
    ) throws(ServiceError) -> Response {
        let schema = WireSchema.message(named: Response.protoMessageName)
        let bytes: [UInt8] =
            switch encoding {
            case .proto: body
            case .json: try converted(body, schema, isLenient: true).bytes
            }
        do {
            return try Response(serializedBytes: bytes, options: binaryOptions)
        } catch {
            throw ServiceError(
                .internal, "The answer is not a bsfg.v1.\(schema.name): is this a bsfg node?")
        }
    }

    // MARK: Parts

    static func json(
        _ bytes: [UInt8], _ messageName: String, _ style: WireToJSON.Style
    ) throws(MalformedRecord) -> [UInt8] {
        let schema = WireSchema.message(named: messageName)
        let result: Result<[UInt8], MalformedRecord> = bytes.withUnsafeBytes { buffer in
            do throws(WireProblem) {
                return .success(try WireToJSON.convert(buffer, as: schema, style: style))
            } catch {
                return .failure(MalformedRecord(error, in: "the \(schema.name)"))
            }
        }
        return try result.get()
    }

    private static func validated(
        _ body: [UInt8], _ schema: WireSchema.Message
    ) throws(ServiceError) -> [UInt8] {
        let refusal: ServiceError? = body.withUnsafeBytes { bytes in
            do throws(ServiceError) {
                try WireValidator.validate(bytes, as: schema)
                return nil
            } catch {
                return error
            }
        }
        if let refusal { throw refusal }
        return body
    }

    private static func converted(
        _ body: [UInt8], _ schema: WireSchema.Message, isLenient: Bool
    ) throws(ServiceError) -> (bytes: [UInt8], refusals: [CanonicalJSONError]) {
        typealias Converted = (bytes: [UInt8], refusals: [CanonicalJSONError])
        let result: Result<Converted, ServiceError> = body.withUnsafeBytes { bytes in
            var converter = JSONToWire(bytes, isLenient: isLenient)
            do throws(ServiceError) {
                let output = try converter.convert(schema)
                return .success((output, converter.refusals))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    /// A request with facts in binary form, judged by its schema; the refusals of the JSON reader, where there was one.
    private static func requestBytes(
        _ body: [UInt8], _ encoding: WireEncoding, _ name: String
    ) throws(ServiceError) -> ([UInt8], [CanonicalJSONError]?) {
        let schema = WireSchema.message(named: name)
        switch encoding {
        case .proto: return (try validated(body, schema), nil)
        case .json:
            let converted = try converted(body, schema, isLenient: false)
            return (converted.bytes, converted.refusals)
        }
    }

    static func read<Submission>(
        _ bytes: [UInt8], _ refusals: [CanonicalJSONError]?,
        _ read: (SubmissionReader) throws(WireProblem) -> Submission
    ) throws(ServiceError) -> Submission {
        let result: Result<Submission, ServiceError> = bytes.withUnsafeBytes { buffer in
            do throws(WireProblem) {
                return .success(try read(SubmissionReader(bytes: buffer, refusals: refusals)))
            } catch {
                return .failure(ServiceError(.malformedRequest, error.text))
            }
        }
        return try result.get()
    }
}
