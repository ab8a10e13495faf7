package gfs

// What every message needs to travel: its layout, both ways.

func (m *statReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *statReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *statResp) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *statResp) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *lookupReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *lookupReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *lookupResp) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *lookupResp) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *readDirReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *readDirReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *readDirResp) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *readDirResp) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *createReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *createReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *createResp) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *createResp) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *mkdirReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *mkdirReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *removeReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *removeReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *undeleteReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *undeleteReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *pathResp) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *pathResp) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *pairReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *pairReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *setAttrReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *setAttrReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *policyReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *policyReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *grantReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *grantReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *grantResp) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *grantResp) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *badReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *badReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *drainReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *drainReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *serversResp) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *serversResp) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *usageReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *usageReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *usageResp) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *usageResp) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *fsckReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *fsckReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *fsckResp) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *fsckResp) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *clusterResp) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *clusterResp) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *readReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *readReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *readResp) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *readResp) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *replicaReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *replicaReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *lengthResp) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *lengthResp) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *writeReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *writeReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *writeResp) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *writeResp) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *appendReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *appendReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *appendResp) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *appendResp) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *registerReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *registerReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *registerResp) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *registerResp) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *reportReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *reportReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *heartbeatReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *heartbeatReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *heartbeatResp) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *heartbeatResp) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *reformReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *reformReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *makeReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *makeReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *raiseReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *raiseReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *raiseResp) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *raiseResp) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *leaseReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *leaseReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *revokeReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *revokeReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *hailReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *hailReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *forkReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *forkReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *cloneReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *cloneReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *digestReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *digestReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *digestResp) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *digestResp) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *acceptReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *acceptReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *applyReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *applyReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func (m *applyResp) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *applyResp) UnmarshalBinary(src []byte) error        { return decode(src, m) }
