internal import FuzzDriver

@_cdecl("FuzzCertificate_main")
func main(_ count: CInt, _ arguments: Arguments) -> CInt {
    fuzz(count, arguments, CertificateHarness.check)
}
