import glob,math,os,numpy as np,torch,torch.nn.functional as F
from torch.func import functional_call,grad
E=os.environ.get
class H:
	datasets_dir=E('DATA_DIR','./data/datasets');vocab=int(E('VOCAB_SIZE',8192));seq=int(E('EVAL_SEQ_LEN',2048));stride=int(E('EVAL_STRIDE',64));steps=int(E('ITERATIONS',20000));ttt_chunk=int(E('TTT_CHUNK_TOKENS',32768));ttt_epochs=int(E('TTT_EPOCHS',3));ttt_lr=float(E('TTT_LR',.005));val_files=os.path.join(datasets_dir,'fineweb_val_*.bin');train_files=os.path.join(datasets_dir,'fineweb_train_*.bin')
def load(f):
	h=np.fromfile(f,dtype='<i4',count=256);return torch.from_numpy(np.fromfile(f,dtype='<u2',count=int(h[2]),offset=1024).astype(np.int64))
class ValidationData:
	def __init__(self,h,device):self.val_tokens=torch.cat([load(f)for f in sorted(glob.glob(h.val_files))]);self.base,self.lead,self.edge=(torch.load(n+'.lut',map_location=device)for n in('base','lead','edge'))
	def nbytes(self,prev,tgt):return self.base[tgt].double()+(self.lead[tgt]&~self.edge[prev]).double()
def init_banks(h,device):
	d=512;b={'emb':torch.randn(h.vocab,d,device=device)*.02}
	for i in range(11):b[f'qo.{i}']=torch.randn(2,d,d,device=device)*.02;b[f'kv.{i}']=torch.randn(2,d,d//2,device=device)*.02;b[f'up.{i}']=torch.randn(d,4*d,device=device)*.02;b[f'down.{i}']=torch.zeros(4*d,d,device=device)
	for p in b.values():p.requires_grad_(True)
	return b
def logits_of(b,ids):
	x=b['emb'][ids]
	for i in range(11):x=x+F.relu(F.rms_norm(x,(512,))@b[f'up.{i}']).square()@b[f'down.{i}']
	return x@b['emb'].T
def loss_of(b,x,y,reduction='mean'):
	lg=logits_of(b,x);return F.cross_entropy(lg.flatten(0,1).float(),y.flatten(),reduction=reduction)
def pretrain(h,b,device):
	files=sorted(glob.glob(h.train_files));opt=torch.optim.AdamW(list(b.values()),lr=1e-3)
	for step in range(h.steps):
		tok=load(files[step%len(files)]);s=(step*7919)%1000;c=tok[s:s+32*h.seq+1].to(device);opt.zero_grad();loss_of(b,c[:-1].view(-1,h.seq),c[1:].view(-1,h.seq)).backward();opt.step()
def eval_val(h,b,v,device):
	tok=v.val_tokens;P=tok.numel()-1;ws=[w for w in range(0,P,h.stride)if w+h.seq-h.stride<P];n=(P+h.ttt_chunk-1)//h.ttt_chunk;cw=[[]for _ in range(n)]
	for w in ws:cw[min((w+(0 if w==0 else h.seq-h.stride))//h.ttt_chunk,n-1)].append(w)
	opt=torch.optim.SGD(list(b.values()),lr=h.ttt_lr,momentum=.9);nats=torch.zeros((),dtype=torch.float64,device=device);cnt=nats.clone();by=nats.clone()
	for ci in range(n):
		with torch.no_grad():
			for w in cw[ci]:
				e=min(w+h.seq,P);c=tok[w:e+1].to(device);s=0 if w==0 else h.seq-h.stride;l=loss_of(b,c[None,:-1],c[None,1:],'none');nats+=l[s:].double().sum();cnt+=e-w-s;by+=v.nbytes(c[:-1],c[1:])[s:].sum()
		if ci==n-1 or h.ttt_epochs<=0:continue
		s=ci*h.ttt_chunk;q=(min(s+h.ttt_chunk,P)-s)//h.seq
		for ep in range(h.ttt_epochs):
			for r in range(0,q,32):
				c=tok[s+r*h.seq:s+min(r+32,q)*h.seq+1].to(device);opt.zero_grad();loss_of(b,c[:-1].view(-1,h.seq),c[1:].view(-1,h.seq)).backward();opt.step()
	l=(nats/cnt).item();return l,l/math.log(2)*(cnt/by).item()
def main():
	h=H();device=torch.device('cuda');b=init_banks(h,device);pretrain(h,b,device);l,bpb=eval_val(h,b,ValidationData(h,device),device);print(f'val_loss:{l:.8f} val_bpb:{bpb:.8f}')
if __name__=='__main__':main()
