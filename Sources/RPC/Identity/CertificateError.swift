internal import COpenSSL

/// What is wrong with a certificate, key or anchor file: one sentence that says what to do.
package struct CertificateError: Error, Sendable, CustomStringConvertible {
    package let sentence: String

    package init(_ sentence: String) {
        self.sentence = sentence
    }

    /// Adds what libcrypto said last and empties its queue, so that nothing stale is blamed later.
    package static func libcrypto(_ sentence: String) -> CertificateError {
        var last: UInt = 0
        while case let code = ERR_get_error(), code != 0 { last = code }
        guard last != 0, let text = ERR_reason_error_string(last) else {
            return CertificateError(sentence)
        }
        return CertificateError("\(sentence) (\(String(cString: text)))")
    }

    package var description: String { sentence }
}
