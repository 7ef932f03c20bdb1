internal import Facts
internal import RPC
internal import SwiftProtobuf

/// Requests and answers of the administration in the codec that the caller speaks.
protocol AdminCodec {}

extension AdminCodec {
    func decode<Message: SwiftProtobuf.Message>(_ request: RPCRequest)
        throws(ServiceError) -> Message
    {
        do {
            return switch request.codec {
            case .json: try Message(jsonUTF8Bytes: request.body)
            case .proto: try Message(serializedBytes: request.body)
            }
        } catch {
            throw ServiceError(.malformedRequest, "the request cannot be read: \(error)")
        }
    }

    func encode(_ message: some SwiftProtobuf.Message, _ request: RPCRequest)
        throws(ServiceError) -> [UInt8]
    {
        do {
            return switch request.codec {
            case .json: try message.jsonUTF8Bytes()
            case .proto: try message.serializedBytes()
            }
        } catch {
            throw ServiceError(.internal, "the answer cannot be encoded: \(error)")
        }
    }
}
